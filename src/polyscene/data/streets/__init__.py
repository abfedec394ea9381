"""Rendered streets: a town of roads, houses, trees and traffic, drawn by the renderer of the rooms."""

"""A network outside torch: ONNX and OpenVINO files, checked against torch before they are kept, the engines that run
them, and a script that does so with numpy, onnxruntime and pillow alone. Importing this imports no torch."""

from polyscene import parts

__getattr__ = parts.exports(
    {
        "Engine": "polyscene.export.engine:Engine",
        "export": "polyscene.export.command:run",
        "open_engine": "polyscene.export.engine:open_engine",
    }
)

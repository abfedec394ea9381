"""Networks on the Hugging Face hub. Nothing here is called unless a name says so: ``hub:USER/NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyscene.info import HUB

if TYPE_CHECKING:
    from polyscene.model import MultiTaskModel

FILES = ("model.safetensors", "model.json", "README.md")


def fetch(repo: str, revision: str | None = None) -> Path:
    """The folder of a network (``USER/NAME``), downloaded unless the hub's cache has it. ``FileNotFoundError`` where
    there is none, or no connection."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
    except (OSError, HFValidationError) as error:  # the hub's errors of all kinds are OSErrors
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"{HUB}{repo} cannot be had ({reason}); check the name and the connection, or download its "
            f"{FILES[0]} and give the path"
        ) from error


def push(model: MultiTaskModel, repo: str, private: bool = False, token: str | None = None, **facts: Any) -> str:
    """Uploads the network and its card, making the repository if there is none, and returns the address."""
    import tempfile

    import huggingface_hub

    hub = huggingface_hub.HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, **{"name": repo.rpartition("/")[2], **facts})
        place = hub.create_repo(repo, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repo, folder_path=folder, commit_message="Polyscene network")
    return str(place)

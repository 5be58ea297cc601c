"""What YAML says of each annotator in tests of the whole family: most need their name only."""

from pathlib import Path

from drivelm_files import frame, record, write


def options_of(name: str, folder: Path) -> dict[str, object]:
    """Options of the annotator ``name``; it may write in ``folder``."""
    if name == "llm":
        return {"name": name, "generator": {"name": "doubles.spoken_generator"}, "cache_dir": str(folder / "replies")}
    if name == "drivelm":
        seen = record("What are objects to the front of the ego car?", "There is one car to the front of the ego car.")
        scenes = {"token-scene-0001": {"key_frames": {"scene-0001-000": frame(seen)}}}
        return {"name": name, "qa_file": str(write(folder / "drivelm.json", scenes))}
    return {"name": name}

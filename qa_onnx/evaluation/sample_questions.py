"""Twelve short questions of different domains, written for this project: enough to see that a reader works.

They are easy on purpose: the default model answers all of them. To measure how good a model is, use `qa-onnx eval`
with a data set.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """A question, a context that answers it, and the texts that count as right."""

    question: str
    context: str
    answers: tuple[str, ...]


ITEMS = (
    Item(
        "Who repaired the harbour clock?",
        "The harbour clock had stood still since the storm. In the spring of 1911 a watchmaker named Elsa Brandt "
        "repaired it in nine days, and the council paid her in coal.",
        ("Elsa Brandt", "a watchmaker named Elsa Brandt"),
    ),
    Item(
        "How long should the dough rest?",
        "Mix flour, water and salt, and knead until the dough is smooth. Let it rest for forty minutes under a "
        "damp cloth, then roll it out as thin as a coin.",
        ("forty minutes", "for forty minutes"),
    ),
    Item(
        "What does the pump need before it is switched on?",
        "Place the pump on level ground and connect both hoses. Before it is switched on, the pump needs two "
        "litres of clean water in its housing; run dry, the seal fails within a minute.",
        ("two litres of clean water", "two litres of clean water in its housing"),
    ),
    Item(
        "At what temperature does gallium melt?",
        "Gallium is a soft, silvery metal. It melts at 29.8 degrees Celsius, so that a piece of it turns liquid "
        "in a warm hand, while it boils only above 2,200 degrees.",
        ("29.8 degrees Celsius", "29.8"),
    ),
    Item(
        "When must the tenant give notice?",
        "The lease runs for two years. The tenant must give notice in writing three months before it ends; "
        "otherwise it is prolonged by another year at the same rent.",
        ("three months before it ends", "three months", "three months before"),
    ),
    Item(
        "Where do the storks spend the winter?",
        "The storks of the valley arrive in March and breed on the chimneys of the old mill. At the end of August "
        "they leave again and spend the winter in Senegal, some four thousand kilometres away.",
        ("Senegal", "in Senegal"),
    ),
    Item(
        "Who scored the winning goal?",
        "With ten minutes to play the two sides were level at one goal each. Then a long ball found Marta Oduya "
        "at the far post, and she scored the winning goal with her left foot.",
        ("Marta Oduya",),
    ),
    Item(
        "Why was the bridge closed?",
        "The railway bridge at Tarn was closed because of cracks in a pillar. It will take until October to "
        "repair them; until then trains are sent round by the coast, which adds an hour to the journey.",
        ("cracks in a pillar", "because of cracks in a pillar", "cracks"),
    ),
    Item(
        "What is the largest planet of the solar system?",
        "Eight planets circle the sun. The largest is Jupiter, more than eleven times as wide as the earth, and "
        "the smallest is Mercury, which has no moon.",
        ("Jupiter",),
    ),
    Item(
        "Which option turns on compression?",
        "The program writes its log to a file that is named with --log. The option --squeeze turns on "
        "compression, and --keep says after how many days old files are removed.",
        ("--squeeze", "The option --squeeze", "squeeze"),
    ),
    Item(
        "How many paintings were stolen?",
        "Thieves broke into the gallery through a skylight on Sunday night. Seven paintings were stolen, among "
        "them a winter landscape that had been lent by a museum in Oslo.",
        ("Seven", "Seven paintings"),
    ),
    Item(
        "What did the company sell in 1998?",
        "The company was founded as a maker of sewing machines. In 1998 it sold its textile division, and since "
        "then it has built nothing but instruments for hospitals.",
        ("its textile division", "textile division"),
    ),
)

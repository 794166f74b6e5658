"""What the page says in words: its introduction, and for each chart a heading, a text and what it looks like."""

from __future__ import annotations

LEAD = (
    "Who wins when some participants of federated learning try to spoil the shared model: "
    "every attack against every defense, with the numbers behind it."
)

INTRO = """
<p>Imagine many phones that train one model together. Nobody’s data leaves the phone: in each round some phones
send the server a small suggested change of the model, an <em>upload</em>. A few of them lie. Their uploads are made
to spoil the model: that is a <em>poisoning attack</em>. What the server does with the uploads to limit the harm is a
<em>defense</em>. Here every attack was let loose on every defense, and the model was then put to the test.</p>
"""

SCORES = {
    "HR": (
        "For each honest person one item that they really chose was hidden. HR@5 is the share of people for whom it is "
        "among the model’s first five guesses; NDCG@5 also rewards a guess nearer the top. Higher is better."
    ),
    "TACC": "TACC is the share of test images that the model classifies rightly. Higher is better.",
    "ASR": (
        "ASR is how often an attacker gets the class that it wants: the share of test images taken for that class, "
        "with the attacker’s mark in them if there is one. Here lower is better for all but the attacker."
    ),
}
CHANGE = (
    "A <em>change</em> of −30% means that three tenths of the score are gone, compared with the same training without "
    "attack and defense."
)


def introduction(metrics: tuple[str, ...]) -> str:
    """Return what a reader must know first: what was done, and how the scores at hand are read."""
    kinds = {metric.partition("@")[0] for metric in metrics}
    said = " ".join(text for kind, text in SCORES.items() if kind in kinds)
    return f"{INTRO}<p><b>How to read a score.</b> {said} {CHANGE}</p>" if said else INTRO


LOOSE = (
    "A score that runs without attack and defense do not have, such as ASR, stands there itself and colours its tile: "
    "the more orange, the better for the attacker. Where there is no such run at all, colours tell how far a score is "
    "from the best one."
)

# key: heading, what it shows, what the picture looks like to someone who cannot see it
SECTIONS = {
    "grid": (
        "What each attack takes from each defense",
        "Large: how much better (+) or worse (−) the model is than without attack and defense. Small: the 95% interval "
        "over seeds. Blue tiles gained, orange tiles lost; the darker or brighter, the more.",
        "Heat map with attacks as rows and defenses as columns; the table below holds the same numbers",
    ),
    "curves": (
        "How the model learns, round by round",
        "One panel for each defense, one line for each attack: the score on test data as training goes on. Dashed: "
        "where the model ends without attack and defense. Bands span the smallest and the largest seed. Each mark also "
        "tells how many honest and malicious uploads of that round’s cohort were accepted and rejected, over all seeds "
        "that were read.",
        "Line charts of test scores over rounds, one panel for each defense",
    ),
    "detection": (
        "Who was caught",
        "For defenses that throw uploads away. DACC: the share of uploads judged rightly. FPR: benign uploads thrown "
        "away. FNR: malicious uploads let in. AAR: in how many rounds a malicious client got in, on average. Expelled: "
        "benign clients that a defense has shut out by the end; they upload no more, so FPR does not count them.",
        "Dot plots of detection rates for each defense and attack; the table below holds the same numbers",
    ),
    "points": (
        "Where the uploads lie",
        "Each mark is one upload, drawn by its two main directions of difference (PCA) among the uploads of the round. "
        "Circles are benign, triangles malicious, a cross marks what the defense rejected. Where triangles hide among "
        "circles, the attack is hard to see. Each panel has its own scale.",
        "Scatter plots of uploads on two principal components, one panel for each round",
    ),
    "densities": (
        "What the defense saw",
        "How the scores that a defense gives to uploads are spread around the median of their round, for benign and "
        "malicious ones, in each third of the run. Each curve is scaled to its own highest point. Separation says how "
        "well the score tells the two apart within a round: 0.5 is guessing, 1 is certain.",
        "Density curves of scores of benign and malicious uploads, one panel for each third of the run",
    ),
    "fits": (
        "Whose upload training can reproduce",
        "FedREDefense trains a few invented samples until they reproduce a client’s upload. One line for each client, "
        "in the first round that judged it: the error that is left after so many iterations (at most 60 clients of "
        "one seed; errors far above γ are drawn at the upper edge). The dashed rule is the threshold γ. Whoever ends "
        "above it is rejected: a cross; at 0 it is an empty upload, which is not fitted. Above each panel: how many "
        "malicious and how many benign clients were rejected. A verdict belongs to the model, the budget of iterations "
        "and γ together: with another model, another budget or another γ it may be the opposite.",
        "Line charts of reconstruction error over iterations, one line for each client, one panel for each attack; "
        "the tables below hold the verdicts",
    ),
    "cost": (
        "What a defense costs when nobody attacks",
        "The score that is left with the defense in place and every client honest, and how long a round takes. Dashed: "
        "no defense. Lines span the 95% interval over seeds.",
        "Bar charts of the clean score and of the time of a round for each defense",
    ),
}  # fmt: skip

SHORT = {
    "about": "About", "glance": "In one look", "ran": "What was run", "grid": "Heat map", "curves": "Learning",
    "detection": "Detection", "points": "Uploads", "densities": "Scores", "fits": "Reconstruction", "cost": "Cost",
    "repeat": "Repeat", "notes": "Notes",
}  # fmt: skip

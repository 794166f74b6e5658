"""The page's charts: one Vega-Lite specification each, made with Altair, and the rows that it draws.

A specification names its data ``rows`` and holds none. The page's script filters a chart's table by what is chosen in
its menus, sets width, colours and number of columns, and hands the rows in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import polars as pl

from fedsiege.report import words
from fedsiege.report.cells import (
    BEST,
    LOSS,
    NONE,
    PACE,
    SLOW,
    VALUE,
    cost,
    curves,
    detection,
    judged,
    orders,
    paces,
    representatives,
)
from fedsiege.report.chart import ROWS, Chart, Choice, bare, thin
from fedsiege.report.collect import DETECTION, Board
from fedsiege.report.contest import Contest, contest
from fedsiege.report.densities import densities
from fedsiege.report.fits import shown, verdicts

WHO = ["benign", "malicious"]
_LEGENDS = {
    LOSS: "change against no attack, no defense",
    VALUE: "the score itself (high is good for the attacker)",
    BEST: "change against the best score",
}
# Rows that a page can hold and still open at once.
_CURVE_ROWS, _UPLOAD_ROWS = 40_000, 90_000
_CELL = ["group", "attack", "defense"]


def _thinned(what: str, stride: int) -> str:
    return f"To keep the page small, one of {stride} {what} is drawn." if stride > 1 else ""


def grid_chart(board: Contest, cells: pl.DataFrame) -> Chart:
    """Return the heat map of what attacks take from each defense."""
    attacks, defenses = orders(board)
    rows = cells.with_columns(
        pl.struct(cells.columns).map_elements(_headline, pl.String).alias("headline"),
        pl.struct(cells.columns).map_elements(_footline, pl.String).alias("footline"),
        pl.struct("mean", "low", "high")
        .map_elements(lambda c: f"{words.score(c['mean'])} {words.half_width(c['low'], c['high'])}", pl.String)
        .alias("score"),
        pl.col("moment").replace_strict({"last": "last round", "best": "best round on validation"}),
        pl.col("command").fill_null("unknown"),
        pl.col("basis").replace_strict(_LEGENDS, return_dtype=pl.String).alias("legend"),
        (pl.col("basis") != VALUE).cast(pl.Int64).alias("change"),
    ).select(
        "group", "metric", "moment", "attack", "defense", "loss", "harm", "legend", "change", "headline", "footline",
        "score", "n", "seeds", "command",
    )  # fmt: skip
    # Long names take two lines: they break after the first part of a composition, or before hyper-parameters.
    cut = "max(indexof(datum.label, ' '), indexof(datum.label, '+'))"
    head = alt.Axis(
        orient="top", labelAngle=0, titlePadding=8, labelLineHeight=14, labelPadding=19, labelLimit=104, ticks=False,
        labelExpr=f"{cut} < 0 ? ['', datum.label] : [slice(datum.label, 0, {cut} + 1), slice(datum.label, {cut} + 1)]",
    )  # fmt: skip
    gap = alt.Scale(paddingInner=0.04)
    ink, paper = alt.param("ink", value="#111"), alt.param("paper", value="#fff")
    # The page sets it from the rows, as it does the legend's title: a rate has no sign, and goes up to 1.
    change = alt.param("change", value=1)
    base = alt.Chart(ROWS).encode(
        x=alt.X("defense:N", sort=defenses, title="defense", axis=head, scale=gap),
        y=alt.Y("attack:N", sort=attacks, title="attack", scale=gap),
        tooltip=[
            alt.Tooltip("attack:N"), alt.Tooltip("defense:N"), alt.Tooltip("headline:N", title="change"),
            alt.Tooltip("footline:N", title="95% interval"), alt.Tooltip("score:N", title="score"),
            alt.Tooltip("n:Q", title="number of seeds"), alt.Tooltip("seeds:N"), alt.Tooltip("command:N"),
        ],
    )  # fmt: skip
    tiles = base.mark_rect(cornerRadius=4, stroke=None).encode(
        color=alt.Color(
            "harm:Q",
            scale=alt.Scale(domain=[-0.6, 0.6], domainMid=0, clamp=True, interpolate="rgb"),
            legend=alt.Legend(
                title=_LEGENDS[LOSS], format=".0%", orient="bottom", gradientLength=220,
                labelExpr="(!change || datum.value == 0 ? '' : datum.value > 0 ? '−' : '+') + "
                "format(abs(datum.value), '.0%')",
                values=[-0.6, -0.3, 0, 0.3, 0.6],
            ),
        )
    )  # fmt: skip
    # The page sets `ink` and `paper` for its light or dark face; strong tiles take the one that stands out.
    color = alt.ExprRef("abs(datum.harm) > (change ? .45 : .75) ? paper : ink")
    top = base.mark_text(dy=-7, fontSize=14, fontWeight=600, color=color).encode(text="headline:N")
    below = base.mark_text(dy=10, fontSize=10, color=color).encode(text="footline:N")
    chart = alt.layer(tiles, top, below).add_params(ink, paper, change).properties(
        width=alt.Step(104), height=alt.Step(46)
    )  # fmt: skip
    choices = (Choice("group", "Setting"), Choice("metric", "Metric"), Choice("moment", "Model after"))
    return Chart("grid", bare(chart), rows, choices, steps=True)


def _headline(cell: dict[str, Any]) -> str:
    return words.change(cell["loss"]) or words.score(cell["mean"])


def _footline(cell: dict[str, Any]) -> str:
    if cell["n"] == 0:
        return "no score"
    if cell["attack"] == cell["defense"] == NONE:
        return "the baseline"
    if cell["loss_n"] > 0:
        return words.change_range(cell["loss_low"], cell["loss_high"], 0) or "1 seed"
    return words.half_width(cell["low"], cell["high"]) or "1 seed"


def _own_first(frame: pl.DataFrame, column: str, own: Mapping[str, str]) -> pl.DataFrame:
    """Return `frame` with what each group is judged by first, so that its menu offers that first."""
    return frame.sort(
        pl.col(column) != pl.col("group").replace_strict(own, return_dtype=pl.String), maintain_order=True
    )


def curves_chart(board: Contest, cells: pl.DataFrame) -> Chart:
    """Return test scores over rounds, a panel for each defense."""
    attacks, defenses = orders(board)
    clean = cells.filter(
        (pl.col("attack") == NONE) & (pl.col("defense") == NONE) & (pl.col("moment") == "last")
    ).select("group", "metric", pl.col("mean").alias("clean"))
    every = _own_first(curves(board), "metric", {group: stick.metric for group, stick in board.sticks.items()})
    drawn, stride = thin(every, _CURVE_ROWS, [*_CELL, "metric"])
    rows = drawn.join(clean, on=["group", "metric"], how="left", maintain_order="left")
    rows = rows.with_columns(
        pl.format("{} accepted, {} rejected", f"{who} accepted", f"{who} rejected").alias(who)
        for who in ("honest", "malicious")
    )
    # Vega complains of a rule without a height: where there is none to draw, an unseen one lies on the curves.
    end = pl.col("clean").fill_nan(None)
    rows = rows.with_columns(end.is_not_null().cast(pl.Int64).alias("ruled"), end.fill_null(pl.col("mean")))
    rows = rows.select(
        "group", "metric", "attack", "defense", "round", "mean", "low", "high", "n", "clean", "ruled", "honest",
        "malicious",
    )  # fmt: skip
    base = alt.Chart().encode(
        x=alt.X("round:Q", title="round", axis=alt.Axis(tickCount=4, format="~s")),
        color=alt.Color("attack:N", title="attack"),
        tooltip=[
            "attack:N", "defense:N", "round:Q", alt.Tooltip("mean:Q", format=".4f"),
            alt.Tooltip("low:Q", title="smallest", format=".4f"), alt.Tooltip("high:Q", title="largest", format=".4f"),
            alt.Tooltip("n:Q", title="seeds read"), alt.Tooltip("honest:N", title="honest uploads"),
            alt.Tooltip("malicious:N", title="malicious uploads"),
        ],
    )  # fmt: skip
    band = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title="test score"), y2="high:Q")
    # Beyond sixteen attacks shapes come back, with another dash.
    line = base.mark_line(strokeWidth=1.8).encode(y="mean:Q", strokeDash=alt.StrokeDash("attack:N", title="attack"))
    dots = base.mark_point(filled=True, size=38, opacity=0.95).encode(
        y="mean:Q", shape=alt.Shape("attack:N", title="attack")
    )
    rule = (
        alt.Chart()
        .mark_rule(strokeDash=[5, 4], strokeWidth=1.3)
        .encode(y="mean(clean):Q", opacity=alt.Opacity("ruled:Q", scale=None, legend=None))
    )
    chart = alt.layer(band, line, dots, rule, data=ROWS).properties(height=190).facet(
        facet=alt.Facet("defense:N", sort=defenses, title=None), columns=3
    )  # fmt: skip
    choices = (Choice("group", "Setting"), Choice("metric", "Metric"))
    note = _thinned("evaluations", stride)
    return Chart("curves", bare(chart), rows, choices, "attack", tuple(attacks), "defense", 250, 74, note=note)


def detection_chart(board: Contest) -> Chart:
    """Return DACC, FPR, FNR and AAR of defenses that reject, a panel for each; one more if some expel."""
    attacks, defenses = orders(board)
    titles = {
        "DACC": "judged rightly (DACC)",
        "FPR": "benign rejected (FPR)",
        "FNR": "malicious accepted (FNR)",
        "AAR": "rounds got in (AAR)",
        "expelled": "benign expelled",
    }
    rows = detection(board).with_columns(pl.col("metric").replace(titles).alias("panel"))
    rows = rows.select("group", "attack", "defense", "panel", "mean", "low", "high", "n")
    there = set(rows["panel"])
    panels = [title for name, title in titles.items() if name in DETECTION or title in there]
    base = alt.Chart().encode(
        y=alt.Y("defense:N", sort=defenses, title=None),
        yOffset=alt.YOffset("attack:N", sort=attacks),
        color=alt.Color("attack:N", title="attack"),
        tooltip=[
            "attack:N", "defense:N", alt.Tooltip("panel:N", title="metric"), alt.Tooltip("mean:Q", format=".4f"),
            alt.Tooltip("low:Q", format=".4f"), alt.Tooltip("high:Q", format=".4f"), alt.Tooltip("n:Q", title="seeds"),
        ],
    )  # fmt: skip
    x = alt.X("mean:Q", title=None, scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=4))
    span = base.mark_rule(strokeWidth=2, opacity=0.7).encode(x=alt.X("low:Q", title=None), x2="high:Q")
    dots = base.mark_point(filled=True, size=60).encode(x=x, shape=alt.Shape("attack:N", title="attack"))
    chart = alt.layer(span, dots, data=ROWS).properties(height=alt.Step(13)).facet(
        facet=alt.Facet("panel:N", sort=panels, title=None), columns=len(panels)
    ).resolve_scale(x="independent")  # fmt: skip
    choices = (Choice("group", "Setting"),)
    return Chart("detection", bare(chart), rows, choices, "attack", tuple(attacks), "panel", 190, 150)


def _favourite(board: Contest, cells: pl.DataFrame, frame: pl.DataFrame) -> dict[str, str]:
    """Return the attack and the defense worth seeing first: the strongest attack, against a composed defense."""
    pairs = frame.select("attack", "defense").unique(maintain_order=True)
    harm = judged(board, cells).filter((pl.col("defense") == NONE) & (pl.col("moment") == "last"))
    harm = harm.group_by("attack").agg(pl.col("harm").fill_nan(None).mean()).fill_null(0.0)
    rows = pairs.join(harm, on="attack", how="left", maintain_order="left").fill_null(-1.0).rows()
    if not rows:
        return {}
    best = max(rows, key=lambda r: (r[0] != NONE, r[2], "union" in r[1], r[1] != NONE, -r[1].count("+")))
    return {"attack": best[0], "defense": best[1]}


def _pick(board: Contest, cells: pl.DataFrame, frame: pl.DataFrame) -> tuple[Choice, ...]:
    first = frame.filter(pl.col("group") == board.groups[0]) if board.groups else frame
    chosen = _favourite(board, cells, first)
    return (
        Choice("group", "Setting"),
        Choice("attack", "Attack", chosen.get("attack")),
        Choice("defense", "Defense", chosen.get("defense")),
    )


def points_chart(board: Contest, cells: pl.DataFrame) -> Chart:
    """Return where uploads lie on their first two principal components, a panel for each round."""
    attacks, defenses = orders(board)
    rows = _ranked(representatives(board, board.points), attacks, defenses).with_columns(
        pl.format("round {}", "round").alias("panel"),
        pl.when("malicious").then(pl.lit("malicious")).otherwise(pl.lit("benign")).alias("who"),
        pl.when("rejected").then(pl.lit("rejected")).otherwise(pl.lit("accepted")).alias("verdict"),
    )
    rows = rows.select(*_CELL, "round", "panel", "who", "verdict", "x", "y")
    rows, stride = thin(rows, _UPLOAD_ROWS, [*_CELL, "round"], pl.col("who") == "malicious")
    axis = alt.Axis(labels=False, ticks=False, domain=False, tickCount=4)
    scale = alt.Scale(zero=False, nice=False, padding=10)
    base = alt.Chart().encode(
        x=alt.X("x:Q", title=None, axis=axis, scale=scale),
        y=alt.Y("y:Q", title=None, axis=axis, scale=scale),
        tooltip=["who:N", "verdict:N", "round:Q"],
    )
    big = alt.condition("datum.who == 'malicious'", alt.value(130), alt.value(46))
    uploads = base.mark_point(filled=True, opacity=0.8).encode(
        color=alt.Color("who:N", title="upload"), shape=alt.Shape("who:N", title="upload"), size=big
    )
    # Crosses share the scales of the uploads, so that one legend names all three; those not wanted are invisible.
    seen = alt.condition("datum.verdict == 'rejected'", alt.value(1), alt.value(0))
    crosses = base.mark_point(filled=False, size=70, strokeWidth=1.5).encode(
        color=alt.Color("verdict:N", title="upload"), shape=alt.Shape("verdict:N", title="upload"), opacity=seen
    )
    chart = alt.layer(uploads, crosses, data=ROWS).properties(height=200).facet(
        facet=alt.Facet("panel:N", sort=alt.EncodingSortField("round", op="min"), title=None), columns=3
    ).resolve_scale(x="independent", y="independent")  # fmt: skip
    note = _thinned("benign uploads", stride)
    picks = _pick(board, cells, rows)
    return Chart("points", bare(chart), rows, picks, "who", tuple(WHO), "panel", 220, 24, digits=4, note=note)


def _ranked(frame: pl.DataFrame, attacks: list[str], defenses: list[str]) -> pl.DataFrame:
    """Return `frame` in the order of attacks and defenses, so that menus list them in it."""
    places = {"attack": attacks, "defense": defenses}
    ranks = [
        pl.col(name).replace_strict({v: i for i, v in enumerate(known)}, return_dtype=pl.Int64, default=None)
        for name, known in places.items()
        if known
    ]
    return frame.sort(ranks, maintain_order=True) if ranks else frame


def densities_chart(board: Contest, cells: pl.DataFrame) -> Chart:
    """Return how scores of benign and malicious uploads are distributed, a panel for each third of the run."""
    attacks, defenses = orders(board)
    shapes, apart = densities(board)
    rows = shapes.join(apart, on=["group", "attack", "defense", "stretch"], how="left", maintain_order="left")
    told = pl.when(pl.col("separation").is_null()).then(pl.col("stretch"))
    panel = told.otherwise(pl.format("{} · separation {}", "stretch", pl.col("separation").round(2)))
    rows = _ranked(rows, attacks, defenses).with_columns(panel.alias("panel"))
    start = pl.col("stretch").str.extract(r"(\d+)").cast(pl.Int64).alias("start")
    rows = rows.with_columns(start).select(*_CELL, "panel", "start", "who", "score", "density", "n")
    rows, stride = thin(rows, _UPLOAD_ROWS, [*_CELL, "panel", "who"])
    base = alt.Chart().encode(
        x=alt.X(
            "score:Q",
            title="score minus the round’s median",
            scale=alt.Scale(zero=False, nice=False),
            axis=alt.Axis(tickCount=4),
        ),
        y=alt.Y("density:Q", stack=False, title="share of its highest point", axis=alt.Axis(tickCount=3, format=".0%")),
        color=alt.Color("who:N", title="upload"),
        tooltip=["who:N", alt.Tooltip("score:Q", format=".4g"), alt.Tooltip("n:Q", title="uploads")],
    )
    area = base.mark_area(opacity=0.2)
    line = base.mark_line(strokeWidth=2).encode(strokeDash=alt.StrokeDash("who:N", title="upload"))
    chart = alt.layer(area, line, data=ROWS).properties(height=170).facet(
        facet=alt.Facet("panel:N", sort=alt.EncodingSortField("start", op="min"), title=None), columns=3
    ).resolve_scale(x="independent")  # fmt: skip
    note = _thinned("points of a curve", stride)
    picks = _pick(board, cells, rows)
    return Chart("densities", bare(chart), rows, picks, "who", tuple(WHO), "panel", 240, 86, digits=4, note=note)


def fits_chart(board: Contest) -> Chart:
    """Return how well training reproduces each client's first upload, a panel for each attack."""
    attacks, defenses = orders(board)
    judged = verdicts(board)
    bad = pl.col("who") == "malicious"
    counts = judged.group_by(_CELL).agg(
        (bad & (pl.col("verdict") == "rejected")).sum().alias("caught"), bad.sum().alias("all_bad"),
        (~bad & (pl.col("verdict") == "rejected")).sum().alias("wronged"), (~bad).sum().alias("all_good"),
    )  # fmt: skip
    rows = shown(judged).join(board.fits.select("run", "client", "step", "error"), on=["run", "client"])
    rows = rows.filter(pl.col("error").is_finite()).join(counts, on=_CELL, maintain_order="left")
    rows = _ranked(rows, attacks, defenses).with_columns(
        pl.when(pl.col("all_bad") > 0)
        .then(pl.format("{} · rejected {}/{} and {}/{}", "attack", "caught", "all_bad", "wronged", "all_good"))
        .otherwise(pl.format("{} · rejected {}/{}", "attack", "wronged", "all_good"))
        .alias("panel"),
        pl.format("γ {}, at most {} iterations", "gamma", "budget").alias("rule"),
        pl.min_horizontal("error", pl.max_horizontal(2.0, 2 * pl.col("gamma"))),
        (pl.col("step") == pl.col("step").max().over(*_CELL, "client")).alias("last"),
        pl.col("attack").replace_strict({a: i for i, a in enumerate(attacks)}, return_dtype=pl.Int64).alias("rank"),
    )
    rows = rows.select(
        "group", "attack", "defense", "rank", "panel", "client", "who", "verdict", "round", "iterations", "final",
        "step", "error", "last", "gamma", "rule",
    )  # fmt: skip
    rows, stride = thin(rows, _UPLOAD_ROWS, [*_CELL, "client"], pl.col("last"))
    axis = alt.Axis(values=[0, *(4**k for k in range(8))], format="~s", labelOverlap=True)
    base = alt.Chart().encode(
        x=alt.X("step:Q", title="iterations", scale=alt.Scale(type="symlog", nice=False), axis=axis),
        y=alt.Y("error:Q", title="error", scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=5)),
        tooltip=[
            alt.Tooltip("client:Q"), alt.Tooltip("who:N"), alt.Tooltip("verdict:N"),
            alt.Tooltip("final:Q", title="error at the end", format=".4g"),
            alt.Tooltip("iterations:Q", title="iterations made"), alt.Tooltip("round:Q"), alt.Tooltip("rule:N"),
        ],
    )  # fmt: skip
    line = base.mark_line(strokeWidth=1.4, opacity=0.55).encode(
        color=alt.Color("who:N", title="client"), strokeDash=alt.StrokeDash("who:N", title="client"), detail="client:N"
    )
    ends = base.transform_filter("datum.last")
    dots = ends.mark_point(filled=True, size=46, opacity=0.85).encode(
        color=alt.Color("who:N", title="client"), shape=alt.Shape("who:N", title="client")
    )
    # Crosses share the scales of the clients, so that one legend names all three; those not wanted are invisible.
    seen = alt.condition("datum.verdict == 'rejected'", alt.value(1), alt.value(0))
    crosses = ends.mark_point(filled=False, size=80, strokeWidth=1.4).encode(
        color=alt.Color("verdict:N", title="client"), shape=alt.Shape("verdict:N", title="client"), opacity=seen
    )
    rule = alt.Chart().mark_rule(strokeDash=[5, 4], strokeWidth=1.3).encode(y="mean(gamma):Q")
    # No curve comes near this corner: errors begin near 1.
    text = alt.Chart().mark_text(align="left", baseline="bottom", fontSize=11).encode(
        x=alt.value(6), y=alt.value(204), text="min(rule):N"
    )  # fmt: skip
    chart = alt.layer(line, dots, crosses, rule, text, data=ROWS).properties(height=210).facet(
        facet=alt.Facet("panel:N", sort=alt.EncodingSortField("rank", op="min"), title=None), columns=3
    )  # fmt: skip
    choices = (Choice("group", "Setting"), Choice("defense", "Defense"))
    note = _thinned("points of a curve", stride)
    return Chart("fits", bare(chart), rows, choices, "who", tuple(WHO), "panel", 270, 74, digits=4, note=note)


def cost_chart(board: Contest) -> Chart:
    """Return what each defense costs when nobody attacks: the clean score, and the time of a round."""
    _, defenses = orders(board)
    every = cost(board)
    pace = paces(board)
    pieces = []
    for metric in board.metrics:
        score = every.filter(pl.col("metric") == metric).drop("attack")
        time = pace.join(score, on="group", how="semi", maintain_order="left")
        part = pl.concat([score, time.select(score.columns)])
        said = {PACE: words.pace, SLOW: words.milliseconds}
        text = [said.get(what, words.score)(value) for what, value in part.select("metric", "mean").rows()]
        panel = pl.col("metric").replace({metric: f"{metric}, nobody attacks", SLOW: "milliseconds per round"})
        pieces.append(
            part.with_columns(
                pl.lit(metric).alias("choice"), panel.alias("panel"), pl.Series("text", text, pl.String)
            ).drop("metric")
        )
    rows = pl.concat(pieces) if pieces else every.with_columns(choice=pl.lit(""), panel=pl.lit(""), text=pl.lit(""))
    rows = _own_first(rows, "choice", {group: stick.clean for group, stick in board.sticks.items()})
    base_value = rows.filter(pl.col("defense") == NONE).select("group", "choice", "panel", pl.col("mean").alias("open"))
    rows = rows.join(base_value, on=["group", "choice", "panel"], how="left", maintain_order="left").select(
        "group", "choice", "panel", "defense", "mean", "low", "high", "n", "text", "open"
    )
    edge = pl.max_horizontal("mean", "high")
    rows = rows.with_columns(
        edge.alias("edge"),
        # An unseen mark keeps room for the numbers right of the bars.
        (edge.max().over("group", "choice", "panel") * 1.3).alias("room"),
    )
    base = alt.Chart().encode(
        y=alt.Y("defense:N", sort=defenses, title=None),
        tooltip=[
            "defense:N", alt.Tooltip("panel:N", title="what"), alt.Tooltip("text:N", title="mean"),
            alt.Tooltip("low:Q", format=".4"), alt.Tooltip("high:Q", format=".4"), alt.Tooltip("n:Q", title="seeds"),
        ],
    )  # fmt: skip
    x = alt.X("mean:Q", title=None, scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=4))
    bars = base.mark_bar(size=16, opacity=0.55).encode(x=x)
    span = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=None), x2="high:Q")
    text = base.mark_text(align="left", dx=6).encode(x=alt.X("edge:Q", title=None), text="text:N")
    room = alt.Chart().mark_point(opacity=0).encode(x=alt.X("room:Q", title=None))
    rule = alt.Chart().mark_rule(strokeDash=[5, 4], strokeWidth=1.3).encode(x="mean(open):Q")
    chart = alt.layer(room, bars, rule, span, text, data=ROWS).properties(height=alt.Step(26)).facet(
        facet=alt.Facet("panel:N", title=None), columns=2
    ).resolve_scale(x="independent")  # fmt: skip
    choices = (Choice("group", "Setting"), Choice("choice", "Metric"))
    return Chart("cost", bare(chart), rows, choices, "", (), "panel", 230, 150)


def charts(board: Board, cells: pl.DataFrame) -> list[Chart]:
    """Return all charts that have something to show."""
    board = contest(board)
    if not board.groups:
        return []
    made = [
        grid_chart(board, cells),
        curves_chart(board, cells),
        detection_chart(board),
        points_chart(board, cells),
        densities_chart(board, cells),
        fits_chart(board),
        cost_chart(board),
    ]
    return [chart for chart in made if not chart.rows.is_empty()]

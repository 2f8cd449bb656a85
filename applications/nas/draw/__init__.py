"""Pictures: cells, how they evolve, mixing weights, curves and problem graphs."""

from applications.nas.draw.alphas import draw_alphas, draw_mixture
from applications.nas.draw.animation import animate_evolution
from applications.nas.draw.cells import draw_cell, draw_genotype, to_dot
from applications.nas.draw.chain import draw_chain
from applications.nas.draw.curves import draw_curves, draw_log
from applications.nas.draw.evolution import draw_evolution
from applications.nas.draw.sketch import GraphSketch, Stage, read_sketch, sketch_graph, write_sketch
from applications.nas.draw.weights import draw_weights

__all__ = [
    "GraphSketch",
    "Stage",
    "animate_evolution",
    "draw_alphas",
    "draw_cell",
    "draw_chain",
    "draw_curves",
    "draw_evolution",
    "draw_genotype",
    "draw_log",
    "draw_mixture",
    "draw_weights",
    "read_sketch",
    "sketch_graph",
    "to_dot",
    "write_sketch",
]

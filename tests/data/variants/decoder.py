"""Writes small decoder graphs in the forms that published model directories have.

`Spec` names a form; `build` returns the graph with every weight inline. Weights come from the seed alone, in the order in
which the parts ask for them.
"""

from attention import Attention
from embedding import Embedding
from feed_forward import FeedForward
from graph import Graph
from head import Head
from model_file import assemble
from norms import Norms
from positions import Positions
from spec import Spec
from weights import tensor_name


class Decoder(Positions, Embedding, Head, Norms, Attention, FeedForward):
    """A graph and how far it is built; each base class is a part of it, in a file of its own."""

    def __init__(self, spec):
        self.spec = spec
        self.graph = Graph(spec)
        self.spelling = 0  # counts the decomposed norms, which are spelled in four ways by turns
        self.residual = None  # the stream before the pending sum
        self.delta = None  # what the next norm adds to it
        self.layer = 0

    def build(self):
        spec = self.spec
        self.mask()
        self.rope()
        self.embed()
        for self.layer in range(spec.layers):
            self.block()
        self.head()
        return assemble(spec, self.graph)

    def block(self):
        graph, spec = self.graph, self.spec
        base = f"/model/layers.{self.layer}"
        x = self.norm(f"{base}/input_layernorm")
        attended = self.scaled(self.attention(x), f"{base}/attn/residual")
        if spec.parallel:
            self.delta = graph.node("Add", [attended, self.mlp(x)], None, f"{base}/parallel/Add")
            return
        if spec.sandwich:
            attended = self.plain_norm(attended, f"{base}/post_attention_layernorm", widen=spec.norm_casts == "gemma")
        self.delta = attended
        x = self.norm(f"{base}/{'pre_feedforward' if spec.sandwich else 'post_attention'}_layernorm")
        fed = self.scaled(self.mlp(x), f"{base}/mlp/residual")
        if spec.sandwich:
            fed = self.plain_norm(fed, f"{base}/post_feedforward_layernorm", widen=spec.norm_casts == "gemma")
        self.delta = fed

    def scaled(self, x, name):
        if self.spec.residual_scale is None:
            return x
        return self.graph.node(
            "Mul", self.graph.with_constant(x, self.graph.io_constant(self.spec.residual_scale)), None, f"{name}/Mul"
        )

    def format(self, role):
        weights = self.spec.weights
        return weights.get(f"{self.layer}.{role}") or weights.get(role) or weights["*"]

    def linear(self, role, x, matrix, name, bias=False):
        graph = self.graph
        y = self.format(role).emit(graph, x, matrix, name)
        if bias:
            values = graph.initializer(f"{tensor_name(name)}.Add.bias", graph.cast(graph.random(matrix.shape[0], scale=0.3)))
            y = graph.node("Add", graph.with_constant(y, values), None, f"{name}/Add")
        return y


def build(spec):
    return Decoder(spec).build()


def build_reference(spec):
    """The graph with the same meaning from which the reference comes."""
    return build(Spec(**{**vars(spec), **spec.reference_as})) if spec.reference_as else build(spec)

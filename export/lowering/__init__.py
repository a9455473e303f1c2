"""Lowering: an ONNX graph in FP16 becomes a launch plan of our kernels (`runtime/launch_plan.py`).

`lower` walks over the graph's nodes, and the first of the rules in `rules.py` that takes a node lowers it. A graph with
a node that no rule takes has no plan, and the reason says what each rule found.
"""

"""Six lessons in four steps each: predict, act, observe, reflect. Their texts are in `assets/lessons/`.

What is true is computed from tensors, plans and runs, one module a lesson; `observing` puts it together.
"""

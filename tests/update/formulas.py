"""Each optimizer once more, written by hand from its published update in plain torch: the reference of the tests.

A rule is a function (x, g, s, t, settings) -> (x, s) of one tensor, with t = 1, 2, ...; s starts as {}. It changes
nothing in place, so that autograd goes through any number of steps.
"""

from __future__ import annotations

import torch


def _decayed(x, g, h):
    g = -g if h.get("maximize") else g
    return g + h.get("weight_decay", 0.0) * x


def sgd(x, g, s, t, h):
    mu, tau = h.get("momentum", 0.0), h.get("dampening", 0.0)
    g = _decayed(x, g, h)
    b = g if "b" not in s else mu * s["b"] + (1 - tau) * g
    d = g + mu * b if h.get("nesterov") else b
    return x - h["lr"] * d, {"b": b}


def sgd_torchopt(x, g, s, t, h):
    # torchopt's trace starts from zero and dampens the first gradient as well.
    return sgd(x, g, s or {"b": torch.zeros_like(x)}, t, h)


def _moments(x, g, s, h):
    b1, b2 = h.get("betas", (0.9, 0.999))
    m = b1 * s.get("m", torch.zeros_like(x)) + (1 - b1) * g
    v = b2 * s.get("v", torch.zeros_like(x)) + (1 - b2) * g**2
    return b1, b2, m, v


def adam(x, g, s, t, h):
    g = _decayed(x, g, h)
    b1, b2, m, v = _moments(x, g, s, h)
    most = torch.maximum(s.get("most", torch.zeros_like(x)), v) if h.get("amsgrad") else v
    step = (m / (1 - b1**t)) / ((most / (1 - b2**t) + h.get("eps_root", 0.0)).sqrt() + h.get("eps", 1e-8))
    return x - h["lr"] * step, {"m": m, "v": v, "most": most}


def adamw(x, g, s, t, h):
    decay, rest = h.get("weight_decay", 0.01), {k: v for k, v in h.items() if k != "weight_decay"}
    moved, s = adam(x, g, s, t, rest)
    return moved - h["lr"] * decay * x, s


def adamax(x, g, s, t, h):
    g = _decayed(x, g, h)
    b1, b2, m, _ = _moments(x, g, s, h)
    u = torch.maximum(b2 * s.get("u", torch.zeros_like(x)), g.abs() + h.get("eps", 1e-8))
    return x - h["lr"] / (1 - b1**t) * m / u, {"m": m, "u": u}


def nadam(x, g, s, t, h):
    decay, decoupled = h.get("weight_decay", 0.0), h.get("decoupled_weight_decay")
    x, g = (x * (1 - h["lr"] * decay), g) if decoupled else (x, _decayed(x, g, h))
    b1, b2, m, v = _moments(x, g, s, h)
    psi = h.get("momentum_decay", 4e-3)
    mu, after = (b1 * (1 - 0.5 * 0.96 ** (k * psi)) for k in (t, t + 1))
    product = s.get("product", 1.0) * mu
    direction = after * m / (1 - product * after) + (1 - mu) * g / (1 - product)
    x = x - h["lr"] * direction / ((v / (1 - b2**t)).sqrt() + h.get("eps", 1e-8))
    return x, {"m": m, "v": v, "product": product}


def radam(x, g, s, t, h):
    decay, decoupled = h.get("weight_decay", 0.0), h.get("decoupled_weight_decay")
    x, g = (x * (1 - h["lr"] * decay), g) if decoupled else (x, _decayed(x, g, h))
    b1, b2, m, v = _moments(x, g, s, h)
    most = 2 / (1 - b2) - 1
    rho = most - 2 * t * b2**t / (1 - b2**t)
    step = m / (1 - b1**t)
    if rho > 5:
        r = ((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)) ** 0.5
        step = step * r * (1 - b2**t) ** 0.5 / (v.sqrt() + h.get("eps", 1e-8))
    return x - h["lr"] * step, {"m": m, "v": v}


def rmsprop(x, g, s, t, h):
    a, zero = h.get("alpha", 0.99), torch.zeros_like(x)
    g = _decayed(x, g, h)
    v = a * s.get("v", zero) + (1 - a) * g**2
    mean = a * s.get("mean", zero) + (1 - a) * g
    root = (v - mean**2).sqrt() if h.get("centered") else v.sqrt()
    b = h.get("momentum", 0.0) * s.get("b", zero) + g / (root + h.get("eps", 1e-8))
    return x - h["lr"] * b, {"v": v, "mean": mean, "b": b}


def adagrad(x, g, s, t, h):
    g = _decayed(x, g, h)
    total = s.get("total", torch.ones_like(x) * h.get("initial_accumulator_value", 0.0)) + g**2
    rate = h["lr"] / (1 + (t - 1) * h.get("lr_decay", 0.0))
    return x - rate * g / (total.sqrt() + h.get("eps", 1e-10)), {"total": total}


def adadelta(x, g, s, t, h):
    rho, eps, zero = h.get("rho", 0.9), h.get("eps", 1e-6), torch.zeros_like(x)
    g = _decayed(x, g, h)
    v = rho * s.get("v", zero) + (1 - rho) * g**2
    u = s.get("u", zero)
    d = ((u + eps) / (v + eps)).sqrt() * g
    return x - h["lr"] * d, {"v": v, "u": rho * u + (1 - rho) * d**2}


def asgd(x, g, s, t, h):
    lambd, eta = h.get("lambd", 1e-4), s.get("eta", h["lr"])
    g = _decayed(x, g, h)
    x = x * (1 - lambd * eta) - eta * g
    return x, {"eta": h["lr"] / (1 + lambd * h["lr"] * t) ** h.get("alpha", 0.75)}


def rprop(x, g, s, t, h):
    (less, more), (least, most) = h.get("etas", (0.5, 1.2)), h.get("step_sizes", (1e-6, 50))
    g = -g if h.get("maximize") else g
    agree = g * s.get("g", torch.zeros_like(x))
    factor = torch.where(agree > 0, more, torch.where(agree < 0, less, 1.0))
    size = s.get("size", torch.ones_like(x) * h["lr"]) * factor
    size = size.clamp(min=least).minimum(torch.as_tensor(most, dtype=x.dtype))
    g = torch.where(agree < 0, 0.0, g)
    return x - g.sign() * size, {"g": g, "size": size}


def unrolled(rule, gradient, x, steps, settings):
    """Make the steps; `settings` is a dict, or a function of the number of updates made."""
    s = {}
    for t in range(1, steps + 1):
        x, s = rule(x, gradient(x), s, t, settings(t - 1) if callable(settings) else settings)
    return x


def central(f, at, h=1e-5):
    """Return the gradient of a function of one vector by central differences."""
    shifts = h * torch.eye(at.numel(), dtype=at.dtype)
    return torch.stack([(f(at + shift) - f(at - shift)) / (2 * h) for shift in shifts])

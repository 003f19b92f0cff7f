# SPDX-License-Identifier: Apache-2.0
"""Calico's selector expressions, each parsed to a function of the labels."""
import functools
import re

TOKEN = re.compile(r"""[ \t]*(?:(?P<call>has|all|global)\([ \t]*(?P<argument>[A-Za-z0-9_./-]*)[ \t]*\)
    |(?P<sign>&&|\|\||==|!=|!|\(|\)|\{|\}|,)
    |(?P<text>'[^']*'|"[^"]*")
    |(?P<word>not[ \t]+in\b|starts[ \t]+with\b|ends[ \t]+with\b)
    |(?P<label>[A-Za-z0-9_./-]+))""", re.X)


def tokens(text):
    at, found = 0, []
    text = text.rstrip(" \t")
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise ValueError(f"selector {text!r}: nothing understood at {at}")
        kind = match.lastgroup if match.lastgroup != "argument" else "call"
        if kind == "call":
            found.append(("call", match["call"], match["argument"]))
        else:
            found.append((kind, re.sub(r"[ \t]+", "", match[kind]) if kind == "word" else match[kind], None))
        at = match.end()
    return found


class Parser:
    def __init__(self, text):
        self.left = tokens(text)

    def take(self, *signs):
        if self.left and self.left[0][1] in signs and self.left[0][0] != "text":
            return self.left.pop(0)
        return None

    def need(self, sign):
        if not self.take(sign):
            raise ValueError(f"selector: expected {sign!r} before {self.left!r}")

    def either(self):
        terms = [self.both()]
        while self.take("||"):
            terms.append(self.both())
        return lambda labels: any(term(labels) for term in terms)

    def both(self):
        terms = [self.one()]
        while self.take("&&"):
            terms.append(self.one())
        return lambda labels: all(term(labels) for term in terms)

    def one(self):
        if self.take("!"):
            inner = self.one()
            return lambda labels: not inner(labels)
        if self.take("("):
            inner = self.either()
            self.need(")")
            return inner
        kind, word, argument = self.left.pop(0)
        if kind == "call":
            return (lambda labels: argument in labels) if word == "has" else lambda labels: True
        return self.comparison(word)

    def text(self):
        kind, word, _ = self.left.pop(0)
        if kind != "text":
            raise ValueError(f"selector: expected a text, not {word!r}")
        return word[1:-1]

    def members(self):
        self.need("{")
        found = []
        while not self.take("}"):
            found.append(self.text())
            self.take(",")
        return found

    def comparison(self, key):
        operator = self.left.pop(0)[1]
        if operator in ("in", "notin"):
            values = self.members()
            return (lambda labels: labels.get(key) in values) if operator == "in" else \
                lambda labels: labels.get(key) not in values
        value = self.text()
        compare = {"==": lambda own: own == value, "contains": lambda own: value in own,
                   "startswith": lambda own: own.startswith(value), "endswith": lambda own: own.endswith(value)}
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: key in labels and compare[operator](labels[key])


@functools.lru_cache(4096)
def parse(text):
    """An empty expression selects everything."""
    parser = Parser(text)
    if not parser.left:
        return lambda labels: True
    answer = parser.either()
    if parser.left:
        raise ValueError(f"selector {text!r}: {parser.left!r} is left over")
    return answer


def matches(text, labels):
    return parse(text)(labels)

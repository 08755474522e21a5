"""Which names Python statements take from before and which they give, in the order in which they are run. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Scope:
    """The names of a module, or of a body within it; `inner` scopes keep what they bind."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.bound: set[str] = set()
        self.changed: set[str] = set()
        self.everything = False
        self.imported: set[str] = set()
        self._later: set[str] = set()  # what functions use when they are called
        self._outer: set[str] = set()  # declared global or nonlocal

    def read(self, body: Iterable[ast.AST]) -> None:
        """Take in statements."""
        for node in body:
            self._visit(node)
        self.used |= self._later - self.bound
        self.changed -= self._given_here()

    def _given_here(self) -> set[str]:
        """Names that were bound before they were changed: nobody else has to give them."""
        return self.bound - self.used - self._outer

    # -- names ------------------------------------------------------------------------------------

    def _use(self, name: str) -> None:
        if name not in self.bound:
            self.used.add(name)

    def _change(self, name: str) -> None:
        self._use(name)
        if name not in self.bound and name not in self.imported:
            self.changed.add(name)

    def _bind(self, name: str) -> None:
        if name in self._outer:
            self.changed.add(name)
        self.bound.add(name)

    # -- nodes ------------------------------------------------------------------------------------

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            (self._use if isinstance(node.ctx, ast.Load) else self._bind)(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        elif isinstance(node, _FUNCTIONS):
            self._function(node)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, _COMPREHENSIONS):
            self._comprehension(node)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            self._outer |= set(node.names)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            self._assign(node)
        elif isinstance(node, ast.Delete | ast.Expr):
            self._statement(node)
        elif isinstance(node, ast.Attribute | ast.Subscript):
            self._part(node)
        else:
            self._rest(node)

    def _rest(self, node: ast.AST) -> None:
        if isinstance(node, ast.For | ast.AsyncFor):
            order: Iterable[ast.AST] = (node.iter, node.target, *node.body, *node.orelse)
        elif isinstance(node, ast.NamedExpr):
            order = (node.value, node.target)
        else:
            order = ast.iter_child_nodes(node)
        name = getattr(node, "name", None)  # of `except ... as name`, and of patterns
        rest = getattr(node, "rest", None)
        for each in order:
            self._visit(each)
        for given in (name, rest):
            if isinstance(given, str):
                self._bind(given)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.everything = True
                continue
            name = alias.asname or alias.name.partition(".")[0]
            self.imported.add(name)
            self._bind(name)

    def _assign(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> None:
        if isinstance(node, ast.AnnAssign):
            self._visit(node.annotation)
        if node.value is not None:
            self._visit(node.value)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(node, ast.AugAssign) and isinstance(target, ast.Name):
                self._change(target.id)
                self.bound.add(target.id)
            elif not isinstance(node, ast.AnnAssign) or node.value is not None:
                self._visit(target)

    def _part(self, node: ast.Attribute | ast.Subscript) -> None:
        """Take in `a.b` and `a[b]`: to store there changes `a`."""
        root = _root(node)
        if not isinstance(node.ctx, ast.Load) and root is not None:
            self._change(root)
        for each in ast.iter_child_nodes(node):
            self._visit(each)

    def _statement(self, node: ast.Delete | ast.Expr) -> None:
        """Take in `a.append(1)`, which changes `a` as far as anybody can see, and `del a`, which needs it."""
        if isinstance(node, ast.Delete):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self._use(target.id)
                else:
                    self._visit(target)
            return
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        root = _root(call.func) if isinstance(call, ast.Call) else None
        if root is not None and isinstance(getattr(call, "func", None), ast.Attribute):
            self._change(root)
        self._visit(node.value)

    # -- scopes of their own ----------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = node.args
        for each in (*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)):
            self._visit(each)
        inner = Scope()
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        for one in (*every, arguments.vararg, arguments.kwarg):
            if one is not None:
                inner.bound.add(one.arg)
                if one.annotation is not None:
                    self._visit(one.annotation)
        if isinstance(node, ast.Lambda):
            inner.read([node.body])
        else:
            for each in (*node.decorator_list, *([node.returns] if node.returns else [])):
                self._visit(each)
            inner.bound |= _stored(node.body)
            inner.read(node.body)
            self._bind(node.name)
        self._later |= inner.used | inner._outer
        self.changed |= inner.changed & inner._outer

    def _class(self, node: ast.ClassDef) -> None:
        for each in (*node.decorator_list, *node.bases, *node.keywords):
            self._visit(each)
        inner = Scope()
        inner.bound |= self.bound
        inner.imported |= self.imported
        inner.read(node.body)
        self.used |= inner.used
        self.changed |= inner.changed
        self._later |= inner._later
        self._bind(node.name)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> None:
        inner = Scope()
        inner.bound |= self.bound
        for each in node.generators:
            inner._visit(each.iter)
            inner._visit(each.target)
            for test in each.ifs:
                inner._visit(test)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        inner.read(parts)
        self.used |= inner.used
        self._later |= inner._later


def _root(node: ast.AST) -> str | None:
    """Return the name that `a.b[c].d` begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _stored(body: Iterable[ast.stmt]) -> set[str]:
    """Return the names that a function's own statements bind, whose values are its own wherever they are used in it."""
    found: set[str] = set()
    declared: set[str] = set()
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp):
            continue
        if isinstance(node, ast.Global | ast.Nonlocal):
            declared |= set(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {a.asname or a.name.partition(".")[0] for a in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        waiting += ast.iter_child_nodes(node)
    return found - declared

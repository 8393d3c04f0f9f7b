"""Widgets by the key that ``view.bind`` was given: another one that took the place of the first has spaces at its end."""


def find(widgets, key):
    (found,) = [widget for widget in widgets if widget.key.rstrip() == key]
    return found

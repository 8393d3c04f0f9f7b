"""What does each attention multiply? A path of five steps."""

from odconv.ui import beginning, bootstrap, start, view

bootstrap()
start.show(beginning.open_network("start.title", start.intro()))
view.write_link()

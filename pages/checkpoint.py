"""What does every layer of my own network attend to?"""

from odconv.ui import beginning, bootstrap, own_checkpoint, view

bootstrap()
beginning.open_network("mine.title", "mine.intro")
own_checkpoint.show()
view.write_link()

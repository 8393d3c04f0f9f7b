"""What differs between two pictures, settings, networks or layers?"""

from odconv.ui import beginning, bootstrap, networks, sides, view

bootstrap()
engine, pictures = beginning.begin("sides.question", sides.intro())
if engine and pictures and (beside := sides.open_network(engine)):
    sides.open_layer(engine, beside, pictures)
    sides.show(engine, beside, pictures)
    networks.show(engine)
view.write_link()

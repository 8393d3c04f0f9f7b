"""Which attention does this prediction depend on?"""

from odconv.ui import beginning, bootstrap, effect_map, several, switching, view
from odconv.ui import static_network as static

bootstrap()
engine, pictures = beginning.begin("switches.question", "switches.intro")
if engine and pictures and not engine.checkpoint.dynamic:
    static.show(engine, pictures)
elif engine and pictures:
    several.choose_layer(engine, pictures)
    switching.note_what_is_left_aside()
    switching.show(engine, pictures)
    effect_map.show(engine)
view.write_link()

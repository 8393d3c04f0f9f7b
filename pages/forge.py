"""How is the kernel made that meets my picture?"""

from odconv.ui import beginning, bootstrap, forging, photo, questions, several, view
from odconv.ui import static_network as static

bootstrap()
engine, pictures = beginning.begin("forging.question", "forging.intro")
if engine and pictures:
    several.choose_layer(engine, pictures)
    if engine.checkpoint.dynamic:
        forging.show(engine, pictures)
        questions.show(engine, photo.looked_at(engine), questions.FORGE)
    else:
        static.show(engine, pictures)
view.write_link()

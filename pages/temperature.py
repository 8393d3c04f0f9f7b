"""What does dividing the logits do?"""

from odconv.ui import asking, beginning, bootstrap, layer, parts, photo, several, temperatures, tempering, view
from odconv.ui import static_network as static
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture

bootstrap()
engine, pictures = beginning.begin("temper.title", "temper.intro")


@parts.part("stage")
def stage(engine: Engine, pictures: list[Picture]) -> None:
    """What follows a dial while it is dragged; everything in it keeps its identity and place and is redrawn."""
    picture = photo.choose(engine, pictures)
    temperatures.show_choices(engine)
    temperatures.show(engine)
    reply = asking.ask(engine, [picture], "stage", temperatures.settings())
    tempering.show_predictions(engine, picture, reply.answers)
    asking.show_busy(reply, "stage")
    temperatures.describe_schedule(engine.checkpoint.card)
    if reply.answers:
        tempering.show_layers(engine, reply.answers)
    view.write_link()


if engine and pictures and not engine.checkpoint.dynamic:
    static.show(engine, pictures)
elif engine and pictures:
    several.choose_layer(engine, pictures)
    tempering.note_what_is_left_aside()
    stage(engine, pictures)
    picture = photo.looked_at(engine)
    reply = asking.ask(engine, [picture], "stage", temperatures.settings())
    if reply.answers:
        tempering.ask_question(engine, picture)
        tempering.show_curves(engine, picture, layer.chosen(reply.answers.now))
view.write_link()

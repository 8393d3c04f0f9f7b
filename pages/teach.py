"""What is my class to see?"""

from odconv.ui import beginning, bootstrap, teaching, view

bootstrap()
engine, pictures = beginning.begin("teach.question", "teach.intro")
if engine:
    teaching.show(engine, pictures)
view.write_link()

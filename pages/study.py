"""What does a newcomer know before and after the path?"""

from odconv.ui import bootstrap, study, view

bootstrap()
study.show()
view.write_link()

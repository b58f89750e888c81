"""attncc: declare which keys a query may see, get a plan, and run it.

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that importing the package
costs nothing. torch's registry gets attncc's operators once torch is imported, before or after.
"""

import lazy_loader

from attncc._util.display import drawn_by
from attncc.runtime.import_hook import register_operators

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_operators()
drawn_by(
    {
        "Pattern": "attncc.visualization.summaries:of_pattern",
        "Score": "attncc.visualization.summaries:of_score",
        "Plan": "attncc.visualization.summaries:of_plan",
        "Schedule": "attncc.visualization.summaries:of_schedule",
    }
)

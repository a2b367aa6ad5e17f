"""Names the search dialogue, for those who hear the page.

Why: Material's template leaves it without a name, and has no block to say it in.
"""


def on_post_page(output, **_):
    """Adds the name to the finished page."""
    dialog = 'class="md-search" data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')

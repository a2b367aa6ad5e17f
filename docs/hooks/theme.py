"""What the theme's templates lack."""


def on_post_page(output, **_):
    """Names the search dialogue, for those who hear the page."""
    dialog = 'class="md-search" data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')

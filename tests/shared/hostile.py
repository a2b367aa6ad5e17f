"""A name that breaks out of markup where it is not treated as text."""

HOSTILE = '</script><!--<script><img src=x onerror="alert(1)">&amp;"\u2028'

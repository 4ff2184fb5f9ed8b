"""What Streamlit runs for every browser."""

from drawbench.human_eval.app.pages import draw

draw()

"""The rater app: Streamlit draws the pages around one component; answers and images go by routes of our own."""

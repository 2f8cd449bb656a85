"""Tables of what runs measured, beside published figures.

Folders of runs are read (`read`), retrainings of the same method are put into rows (`rows`), rows of one task make a
table (`table`), and tables are written as Markdown, LaTeX and CSV (`writers`, `csv_file`).
"""

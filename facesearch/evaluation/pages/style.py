"""The style sheet of all pages: light, dark and print; one column that a telephone can show."""

CSS = """
:root{--ink:#1b1b1f;--muted:#63636b;--grid:#dcdce2;--paper:#fefefe;--soft:#f3f3f6;
--blue:#0072b2;--vermilion:#d55e00;--green:#009e73;--purple:#cc79a7}
@media screen and (prefers-color-scheme:dark){:root{--ink:#ececf0;--muted:#a3a3ad;--grid:#3a3a42;--paper:#17171b;
--soft:#222228;--blue:#58b0e6;--vermilion:#f08a3c;--green:#3fc49b;--purple:#dd9cc0}}
*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
body{margin:0}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{margin:.5rem 0;max-width:46rem}
.sub,figcaption,small,.note{color:var(--muted);font-size:.875rem;overflow-wrap:anywhere}
.answer{background:var(--soft);border-left:4px solid var(--blue);padding:.75rem 1rem;margin:1.25rem 0}
.answer p{margin:.25rem 0}
.answer .big{font-size:1.25rem;line-height:1.35}
.warn{border-left:4px solid var(--vermilion);padding-left:.75rem}
.scroll{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;font-size:.9rem;min-width:100%}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--grid);text-align:left;vertical-align:top}
th{font-weight:600;color:var(--muted);vertical-align:bottom}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.25rem 2rem;margin:.75rem 0}
dl div{border-bottom:1px solid var(--grid);padding:.25rem 0}
dt{color:var(--muted);font-size:.85rem}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:1.5rem}
figure{margin:0;max-width:40rem;break-inside:avoid}
figure svg{width:100%;height:auto;display:block}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(11.5rem,1fr));gap:1rem;margin:.75rem 0}
article{break-inside:avoid;font-size:.9rem}
article small{display:block;font-size:.78rem;line-height:1.35}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:2px;margin-bottom:.25rem}
.photo{display:block;width:100%;aspect-ratio:1;object-fit:cover;background:var(--soft)}
.none{display:grid;place-items:center;color:var(--muted);font-size:.75rem}
.flag{white-space:nowrap;font-size:.78rem;font-weight:600;border:1px solid;border-radius:.6rem;padding:0 .45rem;
color:var(--vermilion)}
@media print{html{font-size:10.5pt}main{max-width:none;padding:0}.scroll{overflow:visible}
section h2{break-after:avoid}.plots{grid-template-columns:1fr 1fr}.cards{grid-template-columns:repeat(4,1fr)}
.answer{border:1px solid #999;border-left-width:4px}}
"""

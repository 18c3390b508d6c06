"""How the page of a session looks, and the few lines that sort its table; both go into the page itself."""

STYLE = """
:root{--ink:#1f2933;--grey:#616e7c;--line:#e4e7eb;--good:#00734f;--bad:#a84300}
*{box-sizing:border-box}
body{margin:0;background:#f5f7fa;color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
header,section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:1.5rem 1.75rem;
margin:0 0 1.25rem}
.kind{margin:0;color:var(--grey);font-size:.85rem}
h1{margin:.1rem 0 .6rem;font-size:1.9rem;line-height:1.2}
h2{margin:0 0 .9rem;font-size:1.25rem}
.lead{font-size:1.25rem;line-height:1.45;margin:0 0 1.25rem}
.tiles{display:grid;grid-template-columns:repeat(3,1fr);gap:.75rem}
.tiles div{border-left:3px solid #0072b2;padding:.1rem 0 .1rem .7rem}
.tiles b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}
.tiles span{color:var(--grey);font-size:.85rem;line-height:1.3;display:block}
figure{margin:0 0 1.75rem}
figure:last-child{margin-bottom:0}
img,video{display:block;width:100%;height:auto;border:1px solid var(--line);border-radius:6px}
figcaption{color:var(--grey);font-size:.92rem;margin-top:.5rem}
figcaption b{color:var(--ink)}
.absent{color:var(--grey);font-style:italic}
.wide{overflow:auto;max-height:32rem;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
.sortable th{position:sticky;top:0;background:#fff;text-align:left;vertical-align:bottom;
border-bottom:2px solid var(--line);padding:0}
.sortable button{all:unset;cursor:pointer;display:block;padding:.45rem .65rem;font-weight:600;min-width:4.2rem;
line-height:1.25}
.sortable button:focus-visible{outline:2px solid #0072b2;outline-offset:-2px}
.sortable th[aria-sort=ascending] button::after{content:" \\25B2"}
.sortable th[aria-sort=descending] button::after{content:" \\25BC"}
.sortable td{padding:.25rem .65rem;border-bottom:1px solid var(--line);white-space:nowrap}
.good td:nth-child(3){color:var(--good);font-weight:600}
.bad td:nth-child(3){color:var(--bad);font-weight:600}
.void td{color:var(--grey)}
.pairs{width:100%}
.pairs th{font-weight:400;color:var(--grey);text-align:left;vertical-align:top;padding:.2rem 1.25rem .2rem 0;
width:19rem}
.pairs td{padding:.2rem 0;overflow-wrap:anywhere}
pre{background:#f5f7fa;border:1px solid var(--line);border-radius:6px;padding:.75rem 1rem;white-space:pre-wrap;
overflow-wrap:anywhere}
summary{cursor:pointer;font-weight:600}
.still{display:none}
@media (max-width:40rem){.tiles{grid-template-columns:repeat(2,1fr)}
main{padding:.5rem .5rem 2rem}header,section{padding:1rem;border-radius:8px}
h1{font-size:1.5rem}
.lead{font-size:1.08rem}.pairs th{width:11rem;padding-right:.75rem}}
@media print{body{background:#fff;font-size:11pt}main{max-width:none;padding:0}header,section{border:0;
padding:0 0 1rem}
figure,tr{break-inside:avoid}.moving{display:none}.still{display:block}
.wide{overflow:visible;max-height:none;border:0}.sortable{font-size:5.6pt;width:100%}
.sortable th{position:static}.sortable button{min-width:0;padding:1pt 2pt}.sortable td{padding:1pt 2pt}}
""".strip()
"""Nothing is loaded from anywhere: fonts are the reader's own."""

SORT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[column].dataset.v;
    const compare = (a, b) => {
      const x = Number(a), y = Number(b);
      return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
    };
    const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a), value(b)));
    body.append(...rows);
  }));
}
""".strip()

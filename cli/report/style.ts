/** How reports look: in light and dark, on a phone, on paper. */
export const style = `
:root {
  color-scheme: light dark;
  --ground: #ffffff; --text: #1c1f24; --quiet: #59606b; --rule: #d5d9e0; --panel: #f4f6f9; --warn: #fff4d6; --warn-text: #5c4300;
  --shade: #4a7fd6; --line-1: #1d5fbf; --line-2: #c2410c; --line-3: #15803d; --line-4: #7e22ce; --line-5: #0e7490; --line-6: #b91c5c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171c; --text: #e7eaf0; --quiet: #a6aebb; --rule: #383e48; --panel: #1d2128; --warn: #40330d; --warn-text: #ffe7a3;
    --shade: #3b6fc4; --line-1: #7db0ff; --line-2: #ff9d66; --line-3: #6fd08c; --line-4: #cfa0ff; --line-5: #5fd0e6; --line-6: #ff8fb8;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1.5rem; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.2rem 0 .8rem; font-size: 1.25rem; border-bottom: 1px solid var(--rule); padding-bottom: .3rem; }
p { margin: .5rem 0; max-width: 48rem; overflow-wrap: anywhere; }
.result { font-size: 1.15rem; }
.quiet, footer, figcaption, caption { color: var(--quiet); }
.banner { background: var(--warn); color: var(--warn-text); padding: .6rem .9rem; border-radius: .4rem; max-width: none; }
.notes { padding-left: 1.2rem; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem 2rem; }
figure { margin: 0; break-inside: avoid; }
.chart figcaption { font-weight: 600; }
.chart > svg { width: 100%; max-width: 32rem; --plot-background: var(--ground); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .3rem 0 0; padding: 0; font-size: .9rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: left; font-weight: 400; vertical-align: top; }
thead th { font-weight: 600; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; }
.texts { font-size: .875rem; }
.texts td { overflow-wrap: anywhere; min-width: 9rem; }
.texts tbody th { white-space: nowrap; color: var(--quiet); }
.confusion td { background: color-mix(in srgb, var(--shade) calc(var(--share) * 55%), transparent); min-width: 4.5rem; print-color-adjust: exact; }
.confusion small { display: block; }
.confusion .right { font-weight: 600; }
.wrong { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: 1rem; }
.wrong figure { background: var(--panel); border-radius: .4rem; padding: .6rem; }
.wrong .pair { display: flex; gap: .4rem; }
.wrong img { width: 50%; height: auto; aspect-ratio: 1; border-radius: .25rem; }
.wrong figcaption { font-size: .9rem; color: var(--text); overflow-wrap: anywhere; }
summary { cursor: pointer; }
.unprinted { display: none; }
:focus-visible { outline: 2px solid var(--line-1); outline-offset: 2px; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--rule); font-size: .9rem; }
@media (max-width: 30rem) {
  body { padding: .9rem; }
  .wrong { grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .6rem; }
}
@media print {
  :root { color-scheme: light; --ground: #fff; --text: #000; --quiet: #444; --rule: #bbb; --panel: #fff; --warn: #fff; --warn-text: #000;
    --shade: #7fa6e6; --line-1: #1d5fbf; --line-2: #c2410c; --line-3: #15803d; --line-4: #7e22ce; --line-5: #0e7490; --line-6: #b91c5c; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .banner, .wrong figure { border: 1px solid var(--rule); }
  .charts { grid-template-columns: 1fr 1fr; }
  .wrong { grid-template-columns: repeat(4, 1fr); }
  .wide { overflow: visible; }
  table { max-width: 100%; font-size: 9pt; }
  th, td { padding: .25rem .4rem; }
  th, .texts td, .crowded td { overflow-wrap: anywhere; }
  th:first-child { min-width: 5rem; }
  .texts td { min-width: 0; }
  .texts tbody th { white-space: normal; }
  .many { font-size: 7pt; }
  .many th, .many td { padding: .2rem; }
  .confusion.many { table-layout: fixed; width: 100%; }
  .confusion.many th:first-child { width: 14%; min-width: 0; }
  .confusion.many thead th:not(:first-child) { writing-mode: vertical-rl; text-align: left; max-height: 8rem; }
  .confusion td { min-width: 0; padding: .1rem; }
  .confusion.many small, .confusion.many caption span { display: none; }
  .confusion.crowded { font-size: 5pt; }
  .confusion.crowded th, .confusion.crowded td { padding: .05rem; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; }
  @supports not selector(::details-content) { .unprinted { display: inline; } }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
}
`;

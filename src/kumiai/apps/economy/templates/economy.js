"use strict";
(function () {
  const root = document.documentElement;
  const page = JSON.parse(document.getElementById("data").textContent);
  const charts = page.charts;
  const CUT = 1; // mean pays of a round: longer bars would hide the others
  const drawn = new Map();
  const asked = new URLSearchParams(location.search).get("lang");
  let language = asked === "en" || asked === "ja" ? asked
    : (navigator.language || "en").toLowerCase().startsWith("ja") ? "ja" : "en";

  const text = (key) => page.texts[language][key] || key;
  const minus = (value, digits) => (Number(value.toFixed(digits)) < 0 ? "−" : "");
  const plain = (value, digits) => minus(value, digits) + Math.abs(value).toFixed(digits);
  const signed = (value, digits) => (Number(value.toFixed(digits)) > 0 ? "+" : "") + plain(value, digits);
  const wide = () => window.innerWidth >= 720;

  function palette() {
    const style = getComputedStyle(root);
    const names = ["ink", "muted", "line", "card", "accent", "warm", "good", "bad", "unsure", "plum", "grey"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  }

  function base(c) {
    return { animation: false, textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: c.ink, fontSize: 12 },
      tooltip: { confine: true, backgroundColor: c.card, borderColor: c.line, textStyle: { color: c.ink, fontSize: 12.5 } } };
  }

  function axis(c) {
    return { axisLine: { lineStyle: { color: c.line } }, axisTick: { show: false }, axisLabel: { color: c.muted },
      splitLine: { lineStyle: { color: c.line, opacity: 0.6 } }, nameTextStyle: { color: c.muted } };
  }

  const names = (c, labels) => ({ ...axis(c), type: "category", data: labels, inverse: true, splitLine: { show: false }, axisLine: { show: false },
    axisLabel: { color: c.ink, width: wide() ? 262 : 112, overflow: "break", lineHeight: 14 } });
  const left = () => (wide() ? 280 : 124);

  function margins() {
    const c = palette();
    const rows = charts.margins;
    const cut = (value) => Math.max(-CUT, Math.min(CUT, value));
    const colour = { yes: c.good, no: c.bad, undecided: c.unsure };
    const whisker = (params, api) => {
      const [, margin, half] = rows[params.dataIndex];
      if (Math.abs(margin) > CUT) return { type: "group", children: [] };
      const y = api.coord([0, params.dataIndex])[1];
      const ends = [cut(margin - half), cut(margin + half)].map((x) => api.coord([x, params.dataIndex])[0]);
      const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: c.ink, lineWidth: 1.4 }, silent: true });
      return { type: "group", children: [line(ends[0], y, ends[1], y), ...ends.map((x) => line(x, y - 4, x, y + 4))] };
    };
    const shown = rows.map(([, margin, half, verdict]) => {
      const end = Math.abs(margin) > CUT ? cut(margin) : cut(margin + Math.sign(margin || 1) * half);
      return { value: end, label: { show: true, position: Math.abs(margin) > CUT ? (margin < 0 ? "insideLeft" : "insideRight") : margin < 0 ? "left" : "right",
        color: Math.abs(margin) > CUT ? c.card : colour[verdict], fontWeight: 600, formatter: (Math.abs(margin) > CUT ? (margin < 0 ? "◂ " : "▸ ") : "") + signed(margin, 3) } };
    });
    return { ...base(c), grid: { left: left(), right: 30, top: 6, bottom: 30 },
      tooltip: { ...base(c).tooltip, formatter: (item) => text("strategy." + rows[item.dataIndex][0]) + "<br><b>" + signed(rows[item.dataIndex][1], 3) + "</b> ± " + rows[item.dataIndex][2].toFixed(3) },
      xAxis: { ...axis(c), type: "value", min: -1.5, max: 1.5, interval: 0.5, axisLabel: { color: c.muted, showMinLabel: false, showMaxLabel: false, formatter: (v) => (Math.abs(v) > 1.01 ? "" : plain(v, 1)) } },
      yAxis: names(c, rows.map(([name]) => text("strategy." + name))),
      series: [
        { type: "bar", barWidth: "56%", data: rows.map(([, margin, , verdict]) => ({ value: cut(margin), itemStyle: { color: colour[verdict], opacity: 0.75, borderRadius: margin < 0 ? [3, 0, 0, 3] : [0, 3, 3, 0] } })) },
        { type: "custom", renderItem: whisker, data: rows.map((row) => cut(row[1])), z: 5, silent: true },
        { type: "bar", barGap: "-100%", barWidth: "56%", silent: true, itemStyle: { color: "transparent" }, data: shown },
      ] };
  }

  function bars(rows, group, digits, colourOf) {
    const c = palette();
    const low = Math.min(0, ...rows.map((row) => row[1])), high = Math.max(0, ...rows.map((row) => row[1]));
    const room = (high - low || 1) * 0.18;
    return { ...base(c), grid: { left: group === "short." ? 116 : left(), right: 20, top: 6, bottom: 28 },
      xAxis: { ...axis(c), type: "value", min: low < 0 ? low - room : 0, max: high + room, splitNumber: 4, axisLabel: { color: c.muted, showMaxLabel: false, showMinLabel: low >= 0, formatter: (v) => plain(v, Math.max(1, digits - 1)) } },
      yAxis: { ...names(c, rows.map(([name]) => text(group + name))), axisLabel: { color: c.ink } },
      series: [{ type: "bar", barWidth: "58%", data: rows.map(([name, value]) => ({ value, itemStyle: { color: colourOf(c, name, value), borderRadius: value < 0 ? [3, 0, 0, 3] : [0, 3, 3, 0] },
        label: { show: true, position: value < 0 ? "left" : "right", color: c.muted, formatter: plain(value, digits) } })) }] };
  }

  function lines(series, xs, xName, options) {
    const c = palette();
    return { ...base(c), grid: { left: 56, right: 24, top: series.length > 1 ? 34 : 16, bottom: 44 },
      legend: series.length > 1 ? { top: 0, textStyle: { color: c.ink }, icon: "roundRect" } : undefined,
      tooltip: { ...base(c).tooltip, trigger: "axis", valueFormatter: (v) => plain(v, 4) },
      xAxis: { ...axis(c), type: "category", boundaryGap: false, data: xs, splitLine: { show: false }, name: xName, nameLocation: "middle", nameGap: 28 },
      yAxis: { ...axis(c), splitNumber: 4, ...options },
      series: series.map(([name, values, colour]) => ({ name, type: "line", data: values, symbol: "circle", symbolSize: values.length > 40 ? 0 : 6, showAllSymbol: true, lineStyle: { color: c[colour], width: 2.5 }, itemStyle: { color: c[colour] } })) };
  }

  const count = (values) => values.map((_, index) => String(index + 1));
  const log = { type: "log", axisLabel: { formatter: (v) => String(Number(v.toPrecision(2))) } };
  const options = {
    margins,
    conduct: () => bars(charts.conduct, "conduct.", 3, (c, name, value) => (name.startsWith("honest") || name === "validator" || name === "delegator" ? c.good : value > 0 ? c.unsure : c.bad)),
    loss: () => lines([[text("chart.loss_rounds"), charts.loss, "accent"]], count(charts.loss), text("chart.round"), log),
    worlds: () => bars(charts.worlds, "short.", 4, (c) => c.accent),
    cheats: () => lines([[text("chart.loss_cheats"), charts.cheats.map((row) => row[1]), "warm"]], charts.cheats.map((row) => Math.round(100 * row[0]) + "%"), "", { type: "value" }),
    gini: () => lines([[text("chart.stake"), charts.stake, "accent"], [text("chart.income"), charts.income, "plum"]], count(charts.stake), text("chart.task"), { type: "value", min: 0, max: 1, interval: 0.25 }),
  };
  const heights = { margins: () => 36 * charts.margins.length + 40, conduct: () => 34 * charts.conduct.length + 36, worlds: () => 26 * charts.worlds.length + 36 };

  function draw() {
    for (const [name, build] of Object.entries(options)) {
      const box = document.getElementById("chart-" + name);
      if (!box) continue;
      box.style.height = (heights[name] || (name === "loss" ? heights.worlds : () => 260))() + "px";
      if (!drawn.has(name)) drawn.set(name, echarts.init(box, null, { renderer: "svg" }));
      drawn.get(name).resize();
      drawn.get(name).setOption(build(), { notMerge: true });
    }
  }

  function show(next) {
    language = next;
    root.lang = next;
    root.dataset.lang = next;
    document.title = text("title") + " · Kumiai";
    for (const button of document.querySelectorAll("[data-pick]"))
      button.setAttribute("aria-pressed", String(button.dataset.pick === next));
    draw();
  }

  for (const button of document.querySelectorAll("[data-pick]"))
    button.addEventListener("click", () => show(button.dataset.pick));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("resize", draw);
  root.classList.add("has-script");
  show(language);
})();

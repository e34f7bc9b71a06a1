"use strict";
(function () {
  const root = document.documentElement;
  const page = JSON.parse(document.getElementById("data").textContent);
  const charts = page.charts;
  const drawn = new Map();
  const PRINT_WIDTH = 620; // fits an A4 page; on screen a chart is as wide as its box
  let isPrinting = false;
  let language = pickLanguage();

  function pickLanguage() {
    const asked = new URLSearchParams(location.search).get("lang");
    if (asked === "en" || asked === "ja") return asked;
    if (root.dataset.auto !== "yes") return root.dataset.lang;
    return (navigator.language || "en").toLowerCase().startsWith("ja") ? "ja" : "en";
  }

  const text = (key) => page.texts[language]["chart." + key] || key;
  const fill = (key, n) => text(key).replace("{n}", n);
  const escaped = (value) => echarts.format.encodeHTML(String(value));
  const wide = () => isPrinting || window.innerWidth >= 720;
  const percent = (ppm) => (ppm / 1e4).toFixed(1) + "%";
  const nat = (ppm) => (ppm / 1e6).toFixed(2);
  const sat = (msat) => (msat / 1000).toLocaleString("en-US", { maximumFractionDigits: 3 });

  function palette() {
    const light = { ink: "#1c2027", muted: "#5b6370", line: "#dcd9d0", card: "#ffffff", accent: "#23508a",
      warm: "#a35a1f", good: "#2c7a52", bad: "#b23a2e", unsure: "#9a6400", grey: "#8b9099" };
    if (isPrinting) return light;
    const style = getComputedStyle(root);
    return Object.fromEntries(Object.keys(light).map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  }

  function base(c) {
    return { animation: false, textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: c.ink, fontSize: 12 },
      tooltip: { confine: true, backgroundColor: c.card, borderColor: c.line, textStyle: { color: c.ink, fontSize: 12.5 },
        extraCssText: "box-shadow:0 4px 14px rgba(0,0,0,.14);border-radius:6px;white-space:normal;max-width:280px" } };
  }

  function axis(c) {
    return { axisLine: { lineStyle: { color: c.line } }, axisTick: { show: false }, axisLabel: { color: c.muted },
      splitLine: { lineStyle: { color: c.line, opacity: 0.6 } }, nameTextStyle: { color: c.muted } };
  }

  const stripes = { symbol: "rect", color: "rgba(255,255,255,.3)", dashArrayX: [1, 0], dashArrayY: [3, 4], rotation: -0.785 };

  function learning() {
    const c = palette();
    const xs = [text("start"), ...charts.rounds.map((row) => String(row[0]))];
    const loss = [charts.start[0], ...charts.rounds.map((row) => row[1])];
    const accuracy = [charts.start[1], ...charts.rounds.map((row) => row[2])];
    const works = (column) => [0, ...charts.rounds.map((row) => row[column])];
    const tall = Math.max(...charts.rounds.map((row) => row[3] + row[4] + row[5]), 1);
    const line = (name, values, colour, yAxisIndex, format, position) => ({
      name, type: "line", xAxisIndex: 0, yAxisIndex, symbol: "circle", symbolSize: values.length > 40 ? 0 : 7, showAllSymbol: true,
      lineStyle: { color: colour, width: 2.5 }, itemStyle: { color: colour }, connectNulls: false,
      data: values.map((value, at) => at === lastOf(values) ? { value, label: { show: true, position, formatter: format(value), color: colour, fontWeight: 600 } } : value) });
    const bar = (name, column, colour, decal) => ({ name, type: "bar", stack: "works", xAxisIndex: 1, yAxisIndex: 2, barWidth: "46%", barMaxWidth: 34,
      itemStyle: { color: colour, decal }, data: works(column),
      label: { show: charts.rounds.length <= (wide() ? 24 : 10), color: c.card, fontWeight: 600, fontSize: 11, formatter: (item) => item.value || "" } });
    const series = [
      line(text("accuracy"), accuracy, c.accent, 0, percent, "bottom"),
      line(text("loss"), loss, c.warm, 1, nat, "top"),
      bar(text("accepted"), 3, c.good),
      bar(text("refused"), 4, c.bad, stripes),
    ];
    if (charts.rounds.some((row) => row[5])) series.push(bar(text("open"), 5, c.grey));
    const side = { left: wide() ? 62 : 46, right: wide() ? 56 : 42 };
    return { ...base(c), axisPointer: { link: [{ xAxisIndex: "all" }] },
      legend: { top: 0, itemGap: wide() ? 22 : 12, textStyle: { color: c.ink }, icon: "roundRect", itemWidth: 14, itemHeight: 10 },
      grid: [{ ...side, top: 64, height: 190 }, { ...side, top: 300, height: 84 }],
      tooltip: { ...base(c).tooltip, trigger: "axis", axisPointer: { lineStyle: { color: c.muted, type: "dashed" } },
        formatter: (items) => describe(items[0].dataIndex, loss, accuracy) },
      xAxis: [
        { ...axis(c), type: "category", data: xs, splitLine: { show: false }, gridIndex: 0, axisLabel: { show: false } },
        { ...axis(c), type: "category", data: xs, splitLine: { show: false }, gridIndex: 1, name: text("round"), nameLocation: "middle", nameGap: 28 },
      ],
      yAxis: [
        { ...axis(c), type: "value", min: 0, max: 1e6, interval: 25e4, gridIndex: 0, axisLabel: { color: c.accent, formatter: (ppm) => (ppm / 1e4).toFixed(0) + "%" },
          name: text("accuracy"), nameTextStyle: { color: c.accent, align: wide() ? "right" : "left" } },
        { ...axis(c), type: "value", min: 0, splitNumber: 4, gridIndex: 0, position: "right", splitLine: { show: false }, axisLabel: { color: c.warm, formatter: (ppm) => (ppm / 1e6).toFixed(1) },
          name: text("loss"), nameTextStyle: { color: c.warm, align: wide() ? "left" : "right" } },
        { ...axis(c), type: "value", min: 0, max: tall, interval: tall, gridIndex: 1 },
      ],
      series };
  }

  function lastOf(values) {
    for (let at = values.length - 1; at >= 0; at--) if (values[at] !== null) return at;
    return -1;
  }

  function describe(at, loss, accuracy) {
    const lines = ["<b>" + escaped(at ? fill("after", charts.rounds[at - 1][0]) : text("before")) + "</b>"];
    if (accuracy[at] !== null) lines.push(escaped(text("accuracy")) + " " + percent(accuracy[at]));
    if (loss[at] !== null) lines.push(escaped(text("loss")) + " " + (loss[at] / 1e6).toFixed(4));
    if (at) lines.push(escaped(text("accepted")) + " " + charts.rounds[at - 1][3], escaped(text("refused")) + " " + charts.rounds[at - 1][4]);
    return lines.join("<br>");
  }

  function money() {
    const c = palette();
    const names = { left: text("left"), fee: text("fee"), promised: text("promised") };
    const title = (flow) => flow.kind === "provider" ? flow.name : flow.kind === "others" ? fill("others", flow.n) : names[flow.kind];
    const colours = { provider: c.good, others: c.good, left: c.accent, fee: c.unsure, promised: c.unsure };
    const total = charts.flows.reduce((sum, flow) => sum + flow.value, 0);
    const flowOf = (name) => charts.flows[Number(name.slice(1))];
    return { ...base(c),
      tooltip: { ...base(c).tooltip, formatter: (item) => {
        const flow = item.dataType === "edge" ? flowOf(item.data.target) : item.name === "budget" ? null : flowOf(item.name);
        return escaped(flow ? title(flow) : text("budget")) + "<br><b>" + sat(flow ? flow.value : total) + " sat</b>";
      } },
      series: [{ type: "sankey", left: 4, right: wide() ? 190 : 150, top: 10, bottom: 10, nodeWidth: 14, nodeGap: 12, draggable: false, layoutIterations: 0,
        emphasis: { focus: "adjacency" },
        lineStyle: isPrinting ? { color: c.line, opacity: 1, curveness: 0.5 } : { color: "gradient", opacity: 0.28, curveness: 0.5 },
        data: [
          { name: "budget", itemStyle: { color: c.ink }, label: { show: true, color: c.ink, fontWeight: 600, formatter: () => sat(total) + "  " + text("budget") } },
          ...charts.flows.map((flow, at) => ({ name: "f" + at, itemStyle: { color: colours[flow.kind] },
            label: { color: c.ink, fontSize: wide() ? 12.5 : 11, width: wide() ? 180 : 140, overflow: "truncate", formatter: () => sat(flow.value) + "  " + title(flow) } })),
        ],
        links: charts.flows.map((flow, at) => ({ source: "budget", target: "f" + at, value: flow.value })) }] };
  }

  const options = { learning, money };
  const heights = { learning: () => 440, money: () => Math.max(180, 40 * charts.flows.length + 40) };

  function draw() {
    for (const [name, build] of Object.entries(options)) {
      const box = document.getElementById("chart-" + name);
      if (!box) continue;
      box.style.height = heights[name]() + "px";
      if (!drawn.has(name)) drawn.set(name, echarts.init(box, null, { renderer: "svg" }));
      drawn.get(name).resize(isPrinting ? { width: PRINT_WIDTH } : {});
      drawn.get(name).setOption(build(), { notMerge: true });
    }
  }

  function show(next) {
    language = next;
    root.lang = next;
    root.dataset.lang = next;
    document.title = root.dataset.name + " · " + page.texts[next].title + " · Kumiai";
    for (const button of document.querySelectorAll("[data-pick]"))
      button.setAttribute("aria-pressed", String(button.dataset.pick === next));
    draw();
  }

  for (const button of document.querySelectorAll("[data-pick]"))
    button.addEventListener("click", () => show(button.dataset.pick));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("resize", draw);
  for (const [name, printing] of [["beforeprint", true], ["afterprint", false]])
    window.addEventListener(name, () => {
      isPrinting = printing;
      draw();
    });
  root.classList.add("has-script");
  show(language);
})();

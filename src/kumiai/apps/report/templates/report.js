"use strict";
(function () {
  const root = document.documentElement;
  const page = JSON.parse(document.getElementById("data").textContent);
  const charts = page.charts;
  const PRINT_WIDTH = 620; // fits an A4 page; on screen a chart is as wide as its box
  const wide = () => isPrinting || window.innerWidth >= 720;
  let isPrinting = false;
  let language = pickLanguage();
  const drawn = new Map();

  function pickLanguage() {
    const asked = new URLSearchParams(location.search).get("lang");
    if (asked === "en" || asked === "ja") return asked;
    if (root.dataset.auto !== "yes") return root.dataset.lang;
    return (navigator.language || "en").toLowerCase().startsWith("ja") ? "ja" : "en";
  }

  const text = (key) => page.texts[language][key] || key;
  const word = (group, code) => page.texts[language][group + "." + code] || code;
  const escaped = (value) => echarts.format.encodeHTML(String(value));
  const amount = (value) => value.toLocaleString("en-US");
  const nat = (ppm) => (Math.abs(ppm) < 50 ? "" : ppm < 0 ? "−" : "+") + (Math.abs(ppm) / 1e6).toFixed(4);

  function palette() {
    const style = getComputedStyle(root);
    const get = (name) => style.getPropertyValue("--" + name).trim();
    const light = { ink: "#1c2027", muted: "#5b6370", line: "#dcd9d0", card: "#ffffff", accent: "#23508a",
      warm: "#a35a1f", good: "#2c7a52", bad: "#b23a2e", unsure: "#9a6400", plum: "#7a4a86", grey: "#8b9099" };
    if (isPrinting) return light;
    return Object.fromEntries(Object.keys(light).map((name) => [name, get(name)]));
  }

  function verdictColour(colours, verdict) {
    return { VALID: colours.good, INVALID: colours.bad, INCONCLUSIVE: colours.unsure }[verdict] || colours.grey;
  }

  function base(colours) {
    return {
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colours.ink, fontSize: 12 },
      tooltip: {
        confine: true,
        backgroundColor: colours.card,
        borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 12.5 },
        extraCssText: "box-shadow:0 4px 14px rgba(0,0,0,.14);border-radius:6px;white-space:normal;max-width:280px",
      },
    };
  }

  function axis(colours) {
    return {
      axisLine: { lineStyle: { color: colours.line } },
      axisTick: { show: false },
      axisLabel: { color: colours.muted },
      splitLine: { lineStyle: { color: colours.line, opacity: 0.6 } },
      nameTextStyle: { color: colours.muted },
    };
  }

  function curve(values, colour, format, label) {
    const colours = palette();
    const last = values.length - 1;
    return {
      ...base(colours),
      grid: { left: 52, right: 56, top: 14, bottom: 42 },
      tooltip: {
        ...base(colours).tooltip,
        trigger: "axis",
        axisPointer: { lineStyle: { color: colours.muted, type: "dashed" } },
        formatter: (items) =>
          escaped(text("chart.round") + " " + items[0].axisValue) + "<br><b>" + escaped(format(items[0].data.value ?? items[0].data)) + "</b> " + escaped(label),
      },
      xAxis: { ...axis(colours), type: "category", boundaryGap: false, data: charts.rounds, splitLine: { show: false },
        name: text("chart.round"), nameLocation: "middle", nameGap: 26 },
      yAxis: { ...axis(colours), type: "value", scale: true, splitNumber: 4, axisLabel: { color: colours.muted, formatter: format } },
      series: [{
        type: "line",
        data: values.map((value, index) => index === last
          ? { value, label: { show: true, position: "right", formatter: format(value), color: colour, fontWeight: 600, fontSize: 12 } }
          : value),
        symbol: "circle",
        symbolSize: values.length > 40 ? 0 : 7,
        showAllSymbol: true,
        lineStyle: { color: colour, width: 2.5 },
        itemStyle: { color: colour },
        areaStyle: { color: colour, opacity: 0.07 },
      }],
    };
  }

  const percent = (ppm) => (ppm / 1e4).toFixed(ppm % 1e4 ? 1 : 0) + "%";

  function scatter(points, type, across, xName, yName) {
    const colours = palette();
    return {
      ...base(colours),
      grid: { left: 60, right: 90, top: 34, bottom: 46 },
      tooltip: { ...base(colours).tooltip, trigger: "item",
        formatter: (item) => (item.data[2] ? "<b>" + escaped(item.data[2]) + "</b><br>" : "") + escaped(xName) + " " + across(item.data[0]) + "<br>" + escaped(yName) + " " + percent(item.data[1]) },
      xAxis: { ...axis(colours), type: "value", scale: true, name: xName, nameLocation: "middle", nameGap: 28, axisLabel: { color: colours.muted, formatter: across } },
      yAxis: { ...axis(colours), type: "value", scale: true, name: yName, nameTextStyle: { color: colours.muted, align: "left" }, splitNumber: 4, axisLabel: { color: colours.muted, formatter: percent } },
      series: [{ type, data: points, symbol: "circle", symbolSize: type === "line" ? 7 : 11, showAllSymbol: true,
        lineStyle: { color: colours.accent, width: 2.5 }, itemStyle: { color: colours.accent },
        labelLayout: { moveOverlap: "shiftY" },
        label: { show: type === "scatter", position: "right", color: colours.ink, formatter: (item) => item.data[2] } }],
    };
  }

  const options = {
    accuracy: () => curve(charts.accuracy, palette().accent, (ppm) => (ppm / 1e4).toFixed(ppm % 1e4 ? 1 : 0) + "%", text("chart.accuracy")),
    loss: () => curve(charts.loss, palette().warm, (ppm) => (ppm / 1e6).toFixed(2), text("chart.loss_unit")),

    bars: () => {
      const colours = palette();
      const rows = charts.bars.slice().reverse();
      const whisker = (params, api) => {
        const row = rows[params.dataIndex];
        const y = api.coord([0, params.dataIndex])[1];
        const from = api.coord([row.value - row.error, params.dataIndex])[0];
        const to = api.coord([row.value + row.error, params.dataIndex])[0];
        const style = { stroke: colours.ink, lineWidth: 1.5 };
        const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style, silent: true });
        if (!row.error) return { type: "group", children: [] };
        return { type: "group", children: [line(from, y, to, y), line(from, y - 4, from, y + 4), line(to, y - 4, to, y + 4)] };
      };
      const low = Math.min(0, ...rows.map((row) => row.value - row.error));
      const high = Math.max(0, ...rows.map((row) => row.value + row.error));
      const room = (high - low || 1) * (wide() ? 0.12 : 0.5);
      return {
        ...base(colours),
        grid: { left: wide() ? 168 : 112, right: 20, top: 8, bottom: 40 },
        tooltip: {
          ...base(colours).tooltip,
          formatter: (item) => {
            const row = rows[item.dataIndex];
            return "<b>" + escaped(row.name) + "</b> · " + escaped(word("verdict", row.verdict)) + "<br>" +
              escaped(text("chart.contribution")) + " " + nat(row.value) + "<br>" +
              escaped(text("chart.error")) + " " + (row.error / 1e6).toFixed(4);
          },
        },
        xAxis: { ...axis(colours), type: "value", min: low < 0 ? low - room : 0, max: high + room, name: text("chart.contribution") + " (nat)",
          nameLocation: "middle", nameGap: 28, splitNumber: wide() ? 6 : 3,
          axisLabel: { color: colours.muted, showMinLabel: low >= 0, showMaxLabel: false, formatter: (ppm) => (ppm / 1e6).toFixed(2).replace("-", "−") } },
        yAxis: { ...axis(colours), type: "category", data: rows.map((row) => row.name), splitLine: { show: false },
          axisLine: { show: false }, axisLabel: { color: colours.ink, width: wide() ? 152 : 98, overflow: "truncate" } },
        series: [
          { type: "bar", barWidth: "56%", data: rows.map((row) => ({ value: row.value, itemStyle: {
              color: verdictColour(colours, row.verdict), borderRadius: row.value < 0 ? [3, 0, 0, 3] : [0, 3, 3, 0],
              decal: row.verdict === "INVALID" ? { symbol: "rect", color: "rgba(255,255,255,.25)", dashArrayX: [1, 0], dashArrayY: [3, 4], rotation: -0.785 } : undefined } })) },
          { type: "custom", renderItem: whisker, data: rows.map((row) => row.value), z: 5, silent: true },
          { type: "bar", barGap: "-100%", barWidth: "56%", silent: true, itemStyle: { color: "transparent" },
            data: rows.map((row) => ({ value: row.value < 0 ? row.value - row.error : row.value + row.error,
              label: { show: true, position: row.value < 0 ? "left" : "right", color: colours.muted, fontSize: 11.5, formatter: nat(row.value) } })) },
        ],
      };
    },

    widths: () => scatter(charts.widths.map(([x, y]) => [x, y, ""]), "line", percent, text("chart.width"), text("chart.accuracy")),
    rewards: () => scatter(charts.rewards.map((row) => [row.value, row.accuracy, row.name]), "scatter", (ppm) => (ppm / 1e6).toFixed(2), text("chart.contribution") + " (nat)", text("chart.received")),

    money: () => {
      const colours = palette();
      const roleColours = { customer: colours.ink, account: colours.accent, validator: colours.accent, delegator: colours.plum, canary: colours.grey };
      const colour = (node) => node.back ? colours.grey : node.role === "trainer" ? verdictColour(colours, node.verdict) : roleColours[node.role] || colours.grey;
      const title = (node) => {
        const name = word("account", node.label);
        return node.back ? text("account.back").replace("{name}", name) : name;
      };
      const byId = new Map(charts.money.nodes.map((node) => [node.id, node]));
      const sources = new Set(charts.money.links.map((link) => link.source));
      const through = (id) => Math.max(
        ...["source", "target"].map((end) => charts.money.links.filter((link) => link[end] === id).reduce((sum, link) => sum + link.value, 0)));
      return {
        ...base(colours),
        tooltip: {
          ...base(colours).tooltip,
          formatter: (item) => item.dataType === "edge"
            ? escaped(title(byId.get(item.data.source))) + " → " + escaped(title(byId.get(item.data.target))) + "<br><b>" + amount(item.data.value) + "</b> " + escaped(charts.unit)
            : escaped(title(byId.get(item.name))) + "<br><b>" + amount(through(item.name)) + "</b> " + escaped(charts.unit),
        },
        series: [{
          type: "sankey",
          left: 4, right: wide() ? 210 : 148, top: 8, bottom: 8,
          nodeWidth: 14, nodeGap: 15, draggable: false, layoutIterations: 0,
          emphasis: { focus: "adjacency" },
          lineStyle: isPrinting ? { color: colours.line, opacity: 1, curveness: 0.5 } : { color: "gradient", opacity: 0.28, curveness: 0.5 },
          data: charts.money.nodes.map((node) => ({
            name: node.id,
            itemStyle: { color: colour(node), borderWidth: 0 },
            label: { show: wide() || !sources.has(node.id), color: colours.ink, fontSize: wide() ? 12.5 : 11, width: wide() ? 200 : 138, overflow: "truncate",
              formatter: () => amount(through(node.id)) + "  " + title(node) },
          })),
          links: charts.money.links,
        }],
      };
    },
  };

  function heightOf(name) {
    if (name === "bars") return Math.max(140, 52 + 34 * charts.bars.length);
    if (name === "money") return Math.max(260, 34 * charts.money.nodes.length);
    return wide() ? 260 : 220;
  }

  function draw() {
    for (const [name, build] of Object.entries(options)) {
      const box = document.getElementById("chart-" + name);
      if (!box) continue;
      box.style.height = heightOf(name) + "px";
      let chart = drawn.get(name);
      if (!chart) {
        chart = echarts.init(box, null, { renderer: "svg" });
        drawn.set(name, chart);
      }
      chart.resize(isPrinting ? { width: PRINT_WIDTH } : {});
      chart.setOption(build(), { notMerge: true });
    }
  }

  function show(next) {
    language = next;
    root.lang = next;
    root.dataset.lang = next;
    document.title = root.getAttribute("data-title-" + next);
    for (const button of document.querySelectorAll("[data-pick]"))
      button.setAttribute("aria-pressed", String(button.dataset.pick === next));
    for (const item of document.querySelectorAll("[data-tip-" + next + "]"))
      item.title = item.getAttribute("data-tip-" + next);
    draw();
  }

  for (const button of document.querySelectorAll("[data-pick]"))
    button.addEventListener("click", () => show(button.dataset.pick));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let waiting = 0;
  let widthDrawn = 0;
  new ResizeObserver(() => {
    if (document.body.clientWidth === widthDrawn) return; // folds change the height only
    widthDrawn = document.body.clientWidth;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }).observe(document.body);
  window.addEventListener("beforeprint", () => {
    isPrinting = true;
    draw();
  });
  window.addEventListener("afterprint", () => {
    isPrinting = false;
    draw();
  });
  root.classList.add("has-script");
  widthDrawn = document.body.clientWidth;
  show(language);
})();

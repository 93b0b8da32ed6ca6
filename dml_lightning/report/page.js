"use strict";
(async () => {
  // Plotly lies in the page compressed, a third of its size; the page's policy lets no other script in.
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (sign) => sign.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const plotly = document.createElement("script");
  plotly.textContent = await new Response(unpacked).text();
  document.head.append(plotly);

  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const embeddings = read("embeddings");
  const quiet = { responsive: true, displayModeBar: false, displaylogo: false };

  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = figures[place.dataset.figure];
    for (const name of ["xaxis", "yaxis"]) figure.layout[name].fixedrange = true;
    Plotly.newPlot(place, figure.data, figure.layout, quiet);
  }

  // Embeddings: the same classes and the same crops in every arm ------------------------------

  const { arms, pools, classes, layout } = embeddings;
  const plots = [...document.querySelectorAll(".projection")];
  const card = document.getElementById("card");
  const mouse = matchMedia("(pointer: fine)").matches;
  const rings = [];
  let chosen = null;

  const traces = (arm) => classes.map((style, number) => {
    const rows = pools[arm.pool].labels.flatMap((label, row) => (label === number ? [row] : []));
    const stroke = style.role === "ood";
    return {
      type: "scatter", mode: "markers", hoverinfo: "none", customdata: rows,
      x: rows.map((row) => arm.x[row]), y: rows.map((row) => arm.y[row]),
      marker: {
        symbol: style.shape, color: style.colour, size: style.role === "known" && style.shape !== "star" ? 6.5 : 8.5,
        line: stroke ? { width: 1.6, color: style.colour } : { width: 0.6, color: "#ffffff" },
      },
    };
  });

  const show = (number) => {
    const opacity = classes.map((_, each) => (number === null || each === number ? 1 : 0.08));
    for (const plot of plots) Plotly.restyle(plot, { opacity });
  };

  const ring = (pool, row) => {
    plots.forEach((plot, number) => {
      const arm = arms[number];
      const { xaxis, yaxis } = plot._fullLayout;
      rings[number].hidden = arm.pool !== pool;
      rings[number].style.left = `${xaxis._offset + xaxis.d2p(arm.x[row])}px`;
      rings[number].style.top = `${yaxis._offset + yaxis.d2p(arm.y[row])}px`;
    });
  };

  const leave = () => {
    card.hidden = true;
    for (const each of rings) each.hidden = true;
  };

  const point = (event, number) => {
    const row = event.points[0].customdata;
    const arm = arms[number];
    const pool = pools[arm.pool];
    const style = classes[pool.labels[row]];
    const thumb = card.querySelector(".thumb");
    thumb.hidden = pool.sprite === null;
    if (pool.sprite !== null) {
      const scale = 168 / pool.side;
      const x = (row % pool.columns) * pool.side * scale;
      const y = Math.floor(row / pool.columns) * pool.side * scale;
      thumb.style.backgroundImage = `url("${pool.sprite}")`;
      thumb.style.backgroundSize = `${pool.columns * pool.side * scale}px auto`;
      thumb.style.backgroundPosition = `-${x}px -${y}px`;
    }
    card.querySelector(".what").textContent = `${style.name} (${style.role})`;
    card.querySelector(".said").textContent =
      `${arm.name}: nearest to ${arm.names[arm.nearest[row]]}, distance ${arm.distance[row].toFixed(2)}; ${pool.flights[row]}`;
    card.hidden = false;
    const { clientX, clientY } = event.event;
    const { width, height } = card.getBoundingClientRect();
    const left = clientX + 18 + width > innerWidth ? clientX - 18 - width : clientX + 18;
    card.style.left = `${Math.max(6, Math.min(left, innerWidth - width - 6))}px`;
    card.style.top = `${Math.max(6, Math.min(clientY - height / 2, innerHeight - height - 6))}px`;
    ring(arm.pool, row);
  };

  plots.forEach((plot, number) => {
    const settings = { ...quiet, displayModeBar: mouse ? "hover" : false };
    settings.modeBarButtonsToRemove = ["select2d", "lasso2d", "autoScale2d", "toImage"];
    const own = { ...structuredClone(layout), height: plot.clientHeight, dragmode: mouse ? "pan" : false };
    if (!mouse) for (const name of ["xaxis", "yaxis"]) own[name].fixedrange = true;
    Plotly.newPlot(plot, traces(arms[number]), own, settings);
    rings.push(plot.appendChild(document.createElement("div")));
    rings[number].className = "ring";
    rings[number].hidden = true;
    plot.on("plotly_hover", (event) => point(event, number));
    plot.on("plotly_click", (event) => point(event, number));
    plot.on("plotly_unhover", leave);
    plot.on("plotly_relayout", leave);
  });
  addEventListener("scroll", leave, { passive: true });

  // The classes: one key for all arms ---------------------------------------------------------

  const PATHS = {
    circle: "M7 2a5 5 0 1 0 .01 0z", square: "M2.5 2.5h9v9h-9z", diamond: "M7 1l6 6-6 6-6-6z",
    star: "M7.0 1.0L8.6 5.2L13.1 5.4L9.6 8.2L10.8 12.6L7.0 10.1L3.2 12.6L4.4 8.2L0.9 5.4L5.4 5.2z",
    "triangle-up": "M7 1.5l6 10.5H1z", "triangle-down": "M7 12.5L1 2h12z",
    "triangle-left": "M1.5 7L12 1v12z", "triangle-right": "M12.5 7L2 1v12z",
    "x-thin-open": "M2 2l10 10M12 2L2 12", "cross-thin-open": "M7 1v12M1 7h12",
    "asterisk-open": "M7 1v12M1 7h12M3 3l8 8M11 3l-8 8", "hash-open": "M5 1v12M9 1v12M1 5h12M1 9h12",
  };

  const mark = (style) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
    for (const [name, value] of Object.entries({ width: 14, height: 14, "aria-hidden": true })) svg.setAttribute(name, value);
    path.setAttribute("d", PATHS[style.shape]);
    path.setAttribute("fill", style.role === "ood" ? "none" : style.colour);
    path.setAttribute("stroke", style.role === "ood" ? style.colour : "none");
    path.setAttribute("stroke-width", 1.8);
    return svg;
  };

  const FAMILIES = { known: "Known", novel: "Novel", ood: "OOD" };
  const key = document.querySelector(".classes");
  const buttons = classes.map((style, number) => {
    if (number === 0 || classes[number - 1].role !== style.role) {
      const family = key.appendChild(document.createElement("span"));
      family.className = "family";
      family.textContent = FAMILIES[style.role];
    }
    const button = key.appendChild(document.createElement("button"));
    button.type = "button";
    button.append(mark(style), style.name);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("mouseenter", () => mouse && show(number));
    button.addEventListener("mouseleave", () => mouse && show(chosen));
    button.addEventListener("click", () => {
      chosen = chosen === number ? null : number;
      buttons.forEach((each, other) => each.setAttribute("aria-pressed", String(other === chosen)));
      show(chosen);
    });
    return button;
  });
  document.documentElement.dataset.ready = "true";
})();

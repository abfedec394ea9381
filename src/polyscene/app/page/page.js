// The page of `polyscene app`: sends a photo, draws what comes back. Nothing is loaded from anywhere else.

const TITLES = { semseg: "What it is", depth: "How far", normals: "Which way", edges: "Where it ends", saliency: "What stands out",
  human_parts: "Parts of people" };
const title = name => TITLES[name] ?? name.replaceAll("_", " ");
const $ = id => document.getElementById(id);
const element = (tag, content = "", more = {}) => Object.assign(document.createElement(tag), { textContent: content }, more);

const about = await (await fetch("about")).json();
let photo = null; // the file as it came, and what its download is called: {file, stem}
let seen = null; // the answer that is shown, and the photo it is of
let turn = 0; // counts requests: an answer that was overtaken is dropped
let facet = null;
let colouring = "photo";

// -- a photo comes in --------------------------------------------------------------------------------------------------

function say(words, kind = "") {
  $("state").textContent = words;
  $("state").className = kind;
}

async function ask(address, file, weights, degrees) {
  const query = new URLSearchParams({ weights });
  if (degrees) query.set("field_of_view", degrees);
  const answer = await fetch(`${address}?${query}`, { method: "POST", body: file }).catch(() => {
    throw new Error("The server does not answer; is it still running?");
  });
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
  throw new Error(error.charAt(0).toUpperCase() + error.slice(1) + (/[.?!]$/.test(error) ? "" : "."));
}

async function look(degrees = "") {
  if (!photo) return;
  const mine = ++turn, given = photo;
  document.documentElement.dataset.asked = mine; // these are for whoever waits
  say("Looking…", "busy");
  $("result").classList.add("waiting");
  const begun = performance.now();
  try {
    const answer = await (await ask("see", given.file, $("weights").value, degrees)).json();
    if (mine !== turn) return;
    await show({ ...answer, given });
    say("");
    const { width, height, sent } = answer.picture;
    const shrunk = sent.width * sent.height > width * height ? `, looked at in ${width} × ${height}` : "";
    const taken = ((performance.now() - begun) / 1000).toFixed(1);
    $("told").textContent = `${sent.width} × ${sent.height} pixels${shrunk}; seen in ${taken} s.`;
    document.documentElement.dataset.shown = mine;
    await painted();
    if (mine === turn && answer.cloud) await draw(answer);
    document.documentElement.dataset.drawn = mine;
  } catch (error) {
    if (mine === turn) {
      say(error.message, "wrong");
      photo = seen?.given ?? photo; // what is still shown is what may be looked at again
    }
  } finally {
    if (mine === turn) $("result").classList.remove("waiting");
  }
}

const painted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));

function receive(file, name = file?.name) {
  if (!file) return;
  if (file.size > about.limits.bytes) return say(`This file is too large. Read are ${about.limits.words}.`, "wrong");
  photo = { file, stem: (name ?? "photo").replace(/\.[^.]*$/, "") || "photo" };
  $("degrees").value = "";
  look();
}

const offered = transfer => [...(transfer?.items ?? [])].find(item => item.kind === "file")?.getAsFile();
let inside = 0;
addEventListener("dragenter", event => { event.preventDefault(); inside++; $("drop").classList.add("over"); });
addEventListener("dragleave", () => { if (--inside <= 0) $("drop").classList.remove("over"); });
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  inside = 0;
  $("drop").classList.remove("over");
  receive(offered(event.dataTransfer));
});
addEventListener("paste", event => receive(offered(event.clipboardData), "pasted"));
$("choose").onclick = () => { $("file").removeAttribute("capture"); $("file").click(); };
$("file").onchange = () => { receive($("file").files[0]); $("file").value = ""; };
$("weights").onchange = () => { tellLicence(); look($("degrees").value); };
$("view").onsubmit = event => { event.preventDefault(); look($("degrees").value); };

// A phone has a camera of its own to offer; elsewhere the browser's is shown.
let stream = null;
$("take").onclick = async () => {
  if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices) {
    $("file").setAttribute("capture", "environment");
    return $("file").click();
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch {
    return say("No camera can be used here; choose a photo instead.", "wrong");
  }
  $("video").srcObject = stream;
  $("shot").showModal();
};
$("leave").onclick = () => $("shot").close();
$("shot").onclose = () => stream?.getTracks().forEach(track => track.stop());
$("shoot").onclick = () => {
  const video = $("video"), canvas = element("canvas", "", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(blob => { $("shot").close(); receive(blob, "camera"); }, "image/jpeg", 0.92);
};

// -- what was seen -----------------------------------------------------------------------------------------------------

async function show(answer) {
  seen = answer;
  document.body.classList.add("seen");
  $("result").hidden = false;
  $("before").src = answer.photo;
  choices($("facets"), Object.keys(answer.facets), title, () => facet, choose);
  choose(facet in answer.facets ? facet : Object.keys(answer.facets)[0]);
  $("camera").textContent = answer.camera.words;
  $("degrees").placeholder = answer.camera.degrees.across.toFixed(0);
  $("space").hidden = !answer.cloud;
  await Promise.all([$("before"), $("after")].map(image => image.decode().catch(() => {})));
}

function choices(place, names, called, current, then) {
  place.replaceChildren(...names.map(name => {
    const button = element("button", called(name), { type: "button" });
    button.dataset.name = name;
    button.onclick = () => then(name);
    return button;
  }));
  mark(place, current());
}
const mark = (place, name) => place.childNodes.forEach(button => button.setAttribute("aria-pressed", button.dataset.name === name));

function choose(name) {
  facet = name;
  mark($("facets"), name);
  const { picture, legend, shares } = seen.facets[name];
  $("after").src = picture;
  $("after").alt = title(name);
  const list = element("ul");
  list.append(...legend.swatches.map(({ name: called, colour }) => {
    const item = element("li"), swatch = element("i");
    swatch.style.background = colour;
    item.append(swatch, called);
    if (shares) item.append(element("small", percent(shares[called])));
    return item;
  }));
  const parts = legend.swatches.length ? [list] : [];
  if (legend.ramp) {
    const ticks = element("div", "", { className: "ticks" });
    ticks.append(...legend.ticks.map(tick => element("span", tick.name)));
    parts.push(element("img", "", { src: legend.ramp, alt: "" }), ticks);
  }
  $("legend").replaceChildren(...parts);
  read(null);
}

$("divide").oninput = () => $("compare").style.setProperty("--at", `${$("divide").value}%`);
$("divide").onpointermove = event => {
  const box = $("compare").getBoundingClientRect();
  read([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
};
$("divide").onpointerleave = () => read(null);

const percent = share => `${share < 0.01 ? "<1" : Math.round(share * 100)} %`;

// what all facets say at a place (x, y in [0, 1]) of the picture
function read(place) {
  const hint = "Point at the picture to read it.";
  $("reading").textContent = place ? Object.entries(seen.facets).map(([name, told]) => at(name, told, place)).join("  ·  ") : hint;
}

function at(name, { values, classes, unit }, [x, y]) {
  const row = values[Math.min(values.length - 1, Math.max(0, Math.floor(y * values.length)))];
  const value = row[Math.min(row.length - 1, Math.max(0, Math.floor(x * row.length)))];
  if (classes) return classes[value];
  if (Array.isArray(value)) return `turned ${Math.round(Math.acos(Math.min(1, Math.abs(value[2]))) * 180 / Math.PI)}° from us`;
  return unit === "probability" ? `${name} ${percent(value)}` : `${value.toFixed(2)} ${unit}`;
}

// -- in 3D -------------------------------------------------------------------------------------------------------------

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const hex = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));

function colours(name) {
  const rgb = bytes(seen.cloud.colours[name]);
  return Array.from({ length: rgb.length / 3 }, (_, i) => `#${hex[rgb[3 * i]]}${hex[rgb[3 * i + 1]]}${hex[rgb[3 * i + 2]]}`);
}

async function draw({ cloud, facets }) {
  const xyz = new Float32Array(bytes(cloud.xyz).buffer), count = xyz.length / 3;
  const [x, y, z] = [0, 1, 2].map(axis => Float32Array.from({ length: count }, (_, i) => xyz[3 * i + axis]));
  const named = Object.entries(cloud.ids).map(([name, text]) => [facets[name].classes, new Uint16Array(bytes(text).buffer)]);
  const said = Array.from(z, (metres, i) => [...named.map(([classes, ids]) => classes[ids[i]]), `${metres.toFixed(2)} m`].join(" · "));
  if (!(colouring in cloud.colours)) colouring = "photo";
  const hidden = { visible: false, showspikes: false };
  await Plotly.react("cloud", [{
    type: "scatter3d", mode: "markers", x, y: z, z: y.map(value => -value), // right, away from us, up
    marker: { size: 3, color: colours(colouring), opacity: 1 }, hovertext: said, hoverinfo: "text",
    hoverlabel: { bgcolor: "#1b1d21", bordercolor: "#1b1d21", font: { color: "#ffffff", size: 14 } },
  }], {
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", font: { family: getComputedStyle(document.body).fontFamily },
    uirevision: turn, // another photo is seen from the start
    scene: { xaxis: hidden, yaxis: hidden, zaxis: hidden, aspectmode: "data", dragmode: "orbit",
      camera: { eye: { x: 0.14, y: -1.34, z: 0.3 }, center: { x: 0, y: 0, z: -0.04 }, up: { x: 0, y: 0, z: 1 } } },
  }, { displayModeBar: false, responsive: true });
  choices($("colours"), Object.keys(cloud.colours), name => name === "photo" ? "Photo" : title(name), () => colouring, paint);
}

function paint(name) {
  colouring = name;
  mark($("colours"), name);
  Plotly.restyle("cloud", { "marker.color": [colours(name)] });
}

// -- everything to take home ---------------------------------------------------------------------------------------------

$("download").onclick = async () => {
  $("download").disabled = true;
  say("Packing…", "busy");
  try {
    const { given, weights, camera } = seen;
    const degrees = camera.origin === "known" ? camera.degrees.across : "";
    const archive = URL.createObjectURL(await (await ask("download", given.file, weights, degrees)).blob());
    element("a", "", { href: archive, download: `${given.stem}.polyscene.zip` }).click();
    setTimeout(() => URL.revokeObjectURL(archive), 60_000);
    say("");
  } catch (error) {
    say(error.message, "wrong");
  } finally {
    $("download").disabled = false;
  }
};

// -- what this server offers ---------------------------------------------------------------------------------------------

function tellLicence() {
  $("licence").textContent = `Weights “${$("weights").value}”: licence ${about.weights[$("weights").value]}.`;
}

$("limits").textContent = about.limits.words;
$("version").textContent = about.version;
$("address").textContent = new URL(".", location.href).href;
$("weights").append(...Object.keys(about.weights).map(name => element("option", name)));
$("network").hidden = Object.keys(about.weights).length < 2;
tellLicence();
$("credits").textContent = about.samples.length
  ? `Examples: ${about.samples.map(({ what, by, licence }) => `${what} (${by}, ${licence})`).join("; ")}.` : "";
$("samples").append(...about.samples.map(({ file, what }) => {
  const button = element("button", "", { type: "button", title: what });
  button.append(element("img", "", { src: `samples/${file}`, alt: what, loading: "lazy" }));
  button.onclick = async () => receive(await (await fetch(`samples/${file}`)).blob(), file);
  return button;
}));
document.documentElement.dataset.ready = "yes";

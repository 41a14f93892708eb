// ---- buttons, keys, files and drops

function walk(event) {
  const last = candidates.length - 1;
  const to = { ArrowDown: Math.min(selected + 1, last), ArrowUp: Math.max(selected - 1, 0), Home: 0, End: last }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    $("candidates").children[to].focus();
  } else if (event.key === "Enter" || event.key === " ") { // to its place in the text, where reading can go on
    event.preventDefault();
    const node = $("view").querySelector("mark");
    if (node) { node.tabIndex = -1; node.focus({ preventScroll: true }); }
  }
}

function chosen(input, options) {
  const files = [...$(input).files];
  $(input).value = "";
  if (files.length) addFiles(files, options);
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
$("stop").addEventListener("click", () => { reset(); $("question").focus(); });
$("draft").addEventListener("input", () => { suggest([]); listDocuments(); });
$("draft").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
$("edit").addEventListener("click", editText);
$("clear").addEventListener("click", clearAll);
$("open").addEventListener("click", () => $("file").click());
$("open-folder").addEventListener("click", () => $("folder").click());
$("file").addEventListener("change", () => chosen("file", {}));
$("folder").addEventListener("change", () => chosen("folder", { folder: true }));
$("candidates").addEventListener("keydown", walk);
$("copy").addEventListener("click", copyAnswer);
$("question").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && candidates.length) { event.preventDefault(); $("candidates").children[selected].focus(); }
});
$("view").addEventListener("pointerover", (event) => {
  const index = event.target.dataset.token;
  if (scored() && index !== undefined) showToken(Number(index));
});
$("view").addEventListener("keydown", stepToken);
for (const id of ["guess", "every"]) $(id).addEventListener("change", () => { if (asked) ask(); });
$("scores").addEventListener("change", switchExpert);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  reset();
  $("question").value = "";
  $("question").focus();
});
document.addEventListener("copy", (event) => { // without the line breaks that blocks would add
  const chosenPart = document.getSelection();
  if (!$("view").contains(chosenPart.anchorNode) || !$("view").contains(chosenPart.focusNode)) return;
  event.clipboardData.setData("text/plain", chosenPart.getRangeAt(0).cloneContents().textContent);
  event.preventDefault();
});
document.addEventListener("paste", (event) => {
  if (event.target.closest("input, textarea")) return;
  const files = [...event.clipboardData.files], pasted = event.clipboardData.getData("text/plain");
  if (!files.length && !pasted) return;
  event.preventDefault();
  if (files.length) { addFiles(files); return; }
  reset();
  addText("Pasted text", pasted);
});
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    const files = event.dataTransfer.types.includes("Files");
    if (!files && event.target.closest?.("input, textarea")) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", files && kind === "dragover");
    if (kind !== "drop") return;
    if (files) { dropped(event.dataTransfer); return; }
    const words = event.dataTransfer.getData("text/plain");
    if (words) { reset(); keepDraft(); addText("Pasted text", words); }
  });
}
for (const example of EXAMPLES) {
  const button = make("button", "chip", example.name);
  button.type = "button";
  button.addEventListener("click", () => { reset(); addText(example.name, example.text, example.questions); $("question").focus(); });
  $("examples").append(button);
}
listDocuments();
showModel();

// The upload page: each file goes up as a bare body, with its progress. Without this script the form sends
// all files as one multipart body and shows the JSON answer.

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const transfers = document.getElementById("transfers");
const numbers = new Intl.NumberFormat("en");

document.getElementById("address").textContent = location.host;

function send(file) {
  const item = document.getElementById("transfer-template").content.firstElementChild.cloneNode(true);
  const result = item.querySelector(".result");
  const percent = item.querySelector(".percent");
  const progress = item.querySelector("progress");
  item.querySelector(".name").textContent = file.name;
  transfers.prepend(item);

  const request = new XMLHttpRequest();
  const started = performance.now();
  request.responseType = "json";
  request.upload.onprogress = ({ loaded, total }) => {
    progress.value = total ? loaded / total : 1;
    percent.textContent = `${Math.floor(progress.value * 100)} %`;
    result.textContent = `${numbers.format(loaded)} of ${numbers.format(total)} bytes`;
  };
  request.onload = () => {
    if (request.status !== 200) return fail(request.response?.error ?? `Refused with ${request.status}.`);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const [{ bytes, crc32 }] = request.response.files;
    progress.value = 1;
    percent.textContent = "done";
    result.textContent = `${numbers.format(bytes)} bytes in ${seconds} s, CRC-32 ${crc32}`;
    item.classList.add("done");
  };
  request.onerror = () => fail("The connection ended before all of it was sent.");
  function fail(text) {
    item.classList.add("failed");
    percent.textContent = "failed";
    result.textContent = text;
  }
  request.open("PUT", form.action);
  request.setRequestHeader("content-type", "application/octet-stream");
  request.send(file);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  for (const chosen of file.files) send(chosen);
  form.reset();
});

for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  for (const dropped of event.dataTransfer.files) send(dropped);
});

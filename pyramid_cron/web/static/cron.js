"use strict";
// Polls the progress of an active run; reloads the page once its state has changed.
const region = document.querySelector("[data-poll]");
if (region) {
  const field = (name) => region.querySelector(`[data-field="${name}"]`);
  const poll = async () => {
    try {
      const answer = await fetch(region.dataset.poll, { headers: { Accept: "application/json" } });
      if (answer.ok) {
        const run = await answer.json();
        if (run.state !== region.dataset.state) {
          location.reload();
          return;
        }
        show(run.progress);
      }
    } catch {
      // The server does not answer; poll again.
    }
    setTimeout(poll, 1000);
  };
  const show = (progress) => {
    if (!progress) return;
    if (progress.total) {
      field("progress").max = progress.total;
      field("progress").value = progress.done;
    }
    const of = progress.total ? ` of ${progress.total}` : "";
    field("message").textContent = `${progress.done}${of} ${progress.message ?? ""}`;
  };
  poll();
}

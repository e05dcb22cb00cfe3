// Sends the key once; from then on a cookie that scripts cannot read stands for it.
const form = document.getElementById("login");
const error = document.getElementById("error");

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  error.textContent = "";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key: form.key.value.trim() }),
    });
    if (answer.ok) {
      location.replace("/" + location.hash);
      return;
    }
    error.textContent = (await answer.json()).message;
  } catch {
    error.textContent = "The orchestrator does not answer.";
  }
  form.key.select();
});

// Until here the form could only have sent the key in a way that nobody takes.
form.querySelector("button").disabled = false;

//! The dashboard in a real browser.

use bench::api::{FailKind, FailRequest, HeartbeatRequest, RunStatus, TaskGroup};
use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Server, archive, claimed, create, finish_one, run_id, upload};

const HOSTILE: &str =
    "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>";

/// A run in the middle of its work, with a failed task whose texts mean harm.
async fn busy_server() -> Server {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("demo"));
    let mut run = create("demo", 14);
    for (alias, count) in [("c7g", 6), ("c8g-eu", 30)] {
        let group = TaskGroup {
            provider: "cloud".into(),
            instance_type: format!("{alias}.large"),
            alias: alias.parse().unwrap(),
            count,
            unsettled: false,
        };
        run.tasks.push(group);
    }
    admin.create_run(&run).await.unwrap();
    for _ in 0..7 {
        finish_one(&runner, "demo", "fine\n").await;
    }
    let (failing, lease) = claimed(&runner, "demo", "runner-2").await;
    let sha256 =
        upload(&runner, failing.id, lease.fence, &archive(&[("output.txt", HOSTILE)])).await.unwrap();
    let fail = FailRequest {
        fence: lease.fence,
        error_type: FailKind::Exit,
        error_message: HOSTILE.into(),
        sha256: Some(sha256),
    };
    runner.fail(failing.id, &fail).await.unwrap();
    let (running, lease) = claimed(&runner, "demo", "runner-1").await;
    let beat = HeartbeatRequest {
        fence: lease.fence,
        status: "measure".into(),
        progress: Some(0.62),
        message: Some(HOSTILE.into()),
    };
    runner.heartbeat(running.id, &beat).await.unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_progress_live_and_hostile_text_as_text() {
    let server = busy_server().await;
    let Some(mut browser) = tokio::task::block_in_place(Browser::start) else { return };
    tokio::task::block_in_place(|| {
        browser.look(1440, false);
        browser.open(&server.url("/"));
        browser.until("document.querySelectorAll('.runs li').length === 1");
        browser.screenshot("runs-1440");
        browser.open(&server.url("/#/runs/demo"));
        browser.until("document.querySelectorAll('.cell[data-state=completed]').length === 7");
        browser.until("document.querySelectorAll('.cell[data-state=failed]').length === 1");
        browser.until("document.querySelector('.runners progress')?.value === 0.62");
        browser.until("document.querySelector('.runners').textContent.includes('<img src=x onerror=')");
        browser.until("document.querySelector('.events').textContent.includes('task completed')");
        // What failed is said with its reason, beside what it leads to.
        browser.until(
            "document.querySelector('[aria-label=\"Failed tasks\"]').textContent.includes('exit: <img src=x')",
        );
        browser.screenshot("run-1440");
    });

    finish_one(&server.runner("demo"), "demo", "fine\n").await;
    tokio::task::block_in_place(|| {
        browser.until("document.querySelectorAll('.cell[data-state=completed]').length === 8");
        // By keyboard: the failed cell takes the focus and Enter opens it.
        browser.evaluate("document.querySelector('.cell[data-state=failed]').focus()");
        browser.press("Enter", 13);
        browser.until("document.querySelector('dialog pre')?.textContent.includes('<script>') === true");
        browser.until("document.querySelector('dialog dl').textContent.includes('<img src=x')");
        browser.screenshot("task-1440");
        assert_eq!(browser.evaluate("document.title"), json!("demo · bench"));
        assert_eq!(browser.evaluate("document.querySelectorAll('img').length"), json!(0));
        assert_eq!(
            browser.evaluate("document.querySelectorAll('main script, dialog script').length"),
            json!(0)
        );
        browser.press("Escape", 27);
        browser.until("!document.querySelector('dialog').open");
        browser.evaluate("document.querySelector('[aria-label^=\"Log of here\"]').click()");
        browser.until("document.querySelector('dialog').open");
        browser.press("Escape", 27);
        browser.until("!document.querySelector('dialog').open");
        for (width, dark, name) in
            [(375, false, "run-375"), (1440, true, "run-1440-dark"), (375, true, "run-375-dark")]
        {
            browser.look(width, dark);
            assert_eq!(
                browser.evaluate("document.documentElement.scrollWidth <= innerWidth"),
                json!(true),
                "nothing sticks out at {width} px"
            );
            browser.screenshot(name);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_by_who_logged_in_and_by_nobody_else() {
    let server = busy_server().await;
    let Some(mut browser) = tokio::task::block_in_place(Browser::start) else { return };
    tokio::task::block_in_place(|| {
        browser.always_confirm();
        browser.look(375, false);
        browser.open(&server.url("/#/runs/demo"));
        browser.until("document.querySelectorAll('.cell').length === 50");
        browser.until("![...document.querySelectorAll('button')].some((b) => b.textContent === 'Stop run')");
        let forbidden = "fetch('/api/v1/runs/demo/stop', {method: 'POST', headers: {'x-csrf-token': \
                         document.querySelector('meta[name=csrf-token]').content}}).then((a) => a.status)";
        assert_eq!(browser.evaluate(forbidden), json!(403), "a viewer may not");

        browser.open(&server.url("/login#/runs/demo"));
        browser
            .until("document.activeElement?.id === 'key' && !document.querySelector('form button').disabled");
        browser.screenshot("login-375");
        browser.type_text("wrong");
        browser.press("Enter", 13);
        browser.until("document.getElementById('error').textContent.includes('does not verify')");
        browser.type_text(server.running.admin_key().expose());
        browser.press("Enter", 13);
        browser.until("[...document.querySelectorAll('button')].some((b) => b.textContent === 'Stop run')");
        let forged = "fetch('/api/v1/runs/demo/stop', {method: 'POST'}).then((a) => a.status)";
        assert_eq!(browser.evaluate(forged), json!(401), "a POST without the token is forged");
        browser.evaluate(
            "[...document.querySelectorAll('button')].find((b) => b.textContent === 'Stop run').click()",
        );
        browser.until("document.querySelector('h1 + .chip')?.textContent === 'cancelled'");
        browser.until("document.getElementById('link').dataset.state === 'ended'");
        browser.until("document.querySelectorAll('.cell[data-state=pending]').length === 0");
        browser.until("document.querySelectorAll('.cell[data-state=cancelled]').length === 42");
    });
    assert_eq!(server.admin().run(&run_id("demo")).await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_reaches_everything_and_keeps_its_place() {
    let server = busy_server().await;
    let Some(mut browser) = tokio::task::block_in_place(Browser::start) else { return };
    let focus = |browser: &mut Browser| {
        let text = browser.evaluate(
            "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent",
        );
        text.as_str().unwrap_or_default().to_owned()
    };
    let cells = "document.querySelectorAll('.cell').length === 50";
    tokio::task::block_in_place(|| {
        browser.look(1440, false);
        browser.open(&server.url("/#/runs/demo"));
        browser.until(cells);
        browser.press("Tab", 9);
        assert_eq!(focus(&mut browser), "Skip to content");
        assert_eq!(browser.evaluate("document.activeElement.getBoundingClientRect().left >= 0"), json!(true));
        browser.screenshot("skip-1440");
        browser.press("Enter", 13);
        browser.until("document.activeElement.id === 'main'");
        assert_eq!(browser.evaluate("location.hash"), json!("#/runs/demo"), "the page stays");

        // What has the focus keeps it while the page around it is made anew.
        browser.press("Tab", 9);
        assert_eq!(focus(&mut browser), "Log in to stop");
        browser.evaluate("document.querySelector('h1').id = 'old'");
        browser.until("document.getElementById('old') === null");
        assert_eq!(focus(&mut browser), "Log in to stop");

        // One stop for the cells of an alias, and arrows among them.
        browser.press("Tab", 9);
        let first = focus(&mut browser);
        assert!(first.starts_with("c7g 1: "), "{first}");
        browser.press("ArrowRight", 39);
        browser.press("ArrowRight", 39);
        browser.press("ArrowLeft", 37);
        assert!(focus(&mut browser).starts_with("c7g 2: "));
        let outline = "getComputedStyle(document.activeElement).outlineStyle";
        assert_eq!(browser.evaluate(outline), json!("solid"), "the focus is seen");
        browser.screenshot("focus-1440");
        browser.press("End", 35);
        assert!(focus(&mut browser).starts_with("c7g 6: "));
        browser.press("Enter", 13);
        browser.until("document.querySelector('dialog h3 ~ h3, dialog p.soft') !== null");
        assert_eq!(focus(&mut browser), "Close");
        browser.press("Escape", 27);
        browser.until("!document.querySelector('dialog').open");
        assert!(focus(&mut browser).starts_with("c7g 6: "));
        browser.press("Tab", 9);
        assert!(focus(&mut browser).starts_with("c8g-eu 1: "));

        // On a narrow screen, where cells stand in rows.
        browser.look(375, false);
        browser.press("ArrowDown", 40);
        let below = "document.activeElement.offsetTop > document.activeElement.parentElement.firstElementChild.offsetTop";
        assert_eq!(browser.evaluate(below), json!(true));
        browser.press("ArrowUp", 38);
        assert!(focus(&mut browser).starts_with("c8g-eu 1: "));
    });
}

/// The least contrast of texts to what they stand on (WCAG 2.2, "contrast ratio"), and of a waiting cell's edge.
const CONTRAST: &str = r#"(() => {
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (a, b) => {
    const [dark, bright] = [light(rgb(a)), light(rgb(b))].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    const own = getComputedStyle(element).backgroundColor;
    return rgb(own)[3] === 0 ? ground(element.parentElement) : own;
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) && element.checkVisibility());
  const found = texts.map((element) => [ratio(getComputedStyle(element).color, ground(element)), element.outerHTML]);
  // Three to one is enough for what is no text.
  const edge = document.querySelector(".cell[data-state=pending]");
  const edges = edge ? [[1.5 * ratio(getComputedStyle(edge).boxShadow.match(/rgb[^)]*\)/)[0], ground(edge)), "edge"]] : [];
  return [...found, ...edges].filter(([ratio]) => ratio < 4.5).map(([ratio, what]) => `${ratio.toFixed(2)} ${what}`).join("\n");
})()"#;

#[tokio::test(flavor = "multi_thread")]
async fn text_can_be_told_from_its_ground_in_light_and_dark() {
    let server = busy_server().await;
    let Some(mut browser) = tokio::task::block_in_place(Browser::start) else { return };
    claimed(&server.runner("demo"), "demo", "runner-3").await;
    tokio::task::block_in_place(|| {
        browser.look(1440, false);
        for (page, shows) in [("/", ".runs li"), ("/login", "form"), ("/#/runs/demo", ".cell")] {
            browser.open(&server.url(page));
            browser.until(&format!(
                "document.readyState === 'complete' && document.querySelector('{shows}') !== null"
            ));
            for dark in [false, true] {
                browser.look(1440, dark);
                assert_eq!(browser.evaluate(CONTRAST), json!(""), "{page}, dark: {dark}");
            }
        }
        browser.until("document.querySelector('.cell[data-state=claimed]') !== null");
    });
    server.admin().stop_run(&run_id("demo")).await.unwrap();
    tokio::task::block_in_place(|| {
        browser.until("document.querySelector('.cell[data-state=cancelled]') !== null");
        for dark in [false, true] {
            browser.look(1440, dark);
            assert_eq!(browser.evaluate(CONTRAST), json!(""), "cancelled, dark: {dark}");
        }
    });
}

#[tokio::test]
async fn off_loopback_a_browser_is_sent_to_the_login_page() {
    let server = Server::start().await;
    let http =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = http.get(server.url("/")).header("host", "bench.example").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/login".parse().unwrap()));
    let login = http.get(server.url("/login")).header("host", "bench.example").send().await.unwrap();
    assert_eq!(login.status(), 200);
    let policy = login.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let home = http.get(server.url("/")).send().await.unwrap();
    let cookie = home.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_run_that_has_ended_shows_its_state_and_its_last_events() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 90)).await.unwrap();
    let runner = server.runner("r");
    for _ in 0..90 {
        finish_one(&runner, "r", "fine\n").await;
    }
    let Some(mut browser) = tokio::task::block_in_place(Browser::start) else { return };
    tokio::task::block_in_place(|| {
        browser.look(1440, false);
        browser.open(&server.url("/#/runs/r"));
        browser.until("document.querySelectorAll('.cell[data-state=completed]').length === 90");
        browser.until("document.querySelector('.events li')?.textContent.includes('run finished') === true");
        browser.until("document.getElementById('link').dataset.state === 'ended'");
        // Of 90 tasks there are at least 270.
        browser.until("document.querySelectorAll('.events li').length === 200");
    });
}

/// Makes `hold(TEXT)` keep back the next answer to a request that has the text in its address, until `release()`;
/// `held` says whether one is. `sources` are the event streams that were opened since.
const SLOW: &str = r#"(() => {
  const [fetched, Source] = [window.fetch, window.EventSource];
  let wanted = null;
  window.held = false;
  window.sources = [];
  window.hold = (text) => (wanted = text);
  window.fetch = async (path, options) => {
    const holds = wanted !== null && path.includes(wanted);
    if (holds) wanted = null;
    const answer = await fetched(path, options);
    if (holds) {
      window.held = true;
      await new Promise((release) => (window.release = release));
      window.held = false;
    }
    return answer;
  };
  window.EventSource = class extends Source {
    constructor(url) {
      super(url);
      sources.push(this);
    }
  };
})()"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_loads_slowly_does_not_replace_the_one_chosen_after_it() {
    let server = busy_server().await;
    server.admin().create_run(&create("other", 1)).await.unwrap();
    let Some(mut browser) = tokio::task::block_in_place(Browser::start) else { return };
    // Open streams, as run and whether it is open still.
    let streams = "sources.map((one) => [one.url.match(/runs\\/(\\w+)/)[1], one.readyState !== 2])";
    let heading = "document.querySelector('h1')?.textContent";
    tokio::task::block_in_place(|| {
        browser.open(&server.url("/"));
        browser.until("document.querySelectorAll('.runs li').length === 2");
        browser.evaluate(SLOW);
        browser.evaluate("hold('/runs/demo/tasks'); location.hash = '#/runs/demo'");
        browser.until("held");
        browser.evaluate("location.hash = '#/runs/other'");
        browser.until(&format!("{heading} === 'other'"));
        assert_eq!(browser.evaluate(streams), json!([["demo", false], ["other", true]]));

        browser.evaluate("release()");
        // The page that was chosen goes on being made anew.
        for _ in 0..2 {
            browser.evaluate("document.querySelector('h1').id = 'old'");
            browser.until("document.getElementById('old') === null");
            assert_eq!(browser.evaluate(heading), json!("other"));
        }
        assert_eq!(browser.evaluate("document.querySelectorAll('.cell').length"), json!(1));
        assert_eq!(browser.evaluate(streams), json!([["demo", false], ["other", true]]));
        assert_eq!(browser.evaluate("document.getElementById('link').dataset.state"), json!("live"));

        // What is left ends, in the middle of a look at the run too.
        browser.evaluate("hold('/runs/other/hosts')");
        browser.until("held");
        browser.evaluate("location.hash = ''");
        browser.until(&format!("{heading} === 'Runs'"));
        browser.evaluate("release()");
        assert_eq!(browser.evaluate(streams), json!([["demo", false], ["other", false]]));
        browser.evaluate("hold('/runs/'); document.querySelector('.runs li').id = 'old'");
        browser.until("document.getElementById('old') === null");
        assert_eq!(browser.evaluate("held"), json!(false), "nobody asks for a run any more");
        assert_eq!(browser.evaluate("document.getElementById('link').dataset.state"), json!("live"));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_loads_slowly_stays_out_of_the_dialog_of_the_next() {
    let server = busy_server().await;
    let Some(mut browser) = tokio::task::block_in_place(Browser::start) else { return };
    let title = "document.getElementById('task-title')?.textContent";
    tokio::task::block_in_place(|| {
        browser.open(&server.url("/#/runs/demo"));
        browser.until("document.querySelectorAll('.cell').length === 50");
        browser.evaluate(SLOW);
        for slow in ["/attempts", "/log"] {
            browser.evaluate(&format!(
                "hold('{slow}'); document.querySelector('[aria-label^=\"c7g 1:\"]').click()"
            ));
            browser.until("held");
            browser.evaluate("document.querySelector('dialog').close()");
            browser.evaluate("document.querySelector('[aria-label^=\"c7g 2:\"]').click()");
            browser.until("document.querySelector('dialog h3 ~ pre, dialog p.soft') !== null");
            browser.evaluate("release()");
            // Whatever was to come has come once two more answers have.
            browser.evaluate("fetch('/api/v1/runs').then(() => fetch('/api/v1/runs')).then(() => true)");
            assert_eq!(browser.evaluate(title), json!("c7g 2"), "{slow}");
            let logs = "document.querySelectorAll('dialog pre, dialog p.soft, dialog p.error').length";
            assert_eq!(browser.evaluate(logs), json!(1), "{slow}");
            browser.evaluate("document.querySelector('dialog').close()");
        }
    });
}

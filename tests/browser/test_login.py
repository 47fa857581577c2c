"""Login with a real browser, to a viewer below a path."""

from tests.browser.conftest import TIMEOUT, calm_context
from tests.viewer.serving import served

TOKEN = "correct-horse-battery"


def test_the_login_leads_to_the_view_that_was_asked_for(chromium, surveys):
    with (
        served(surveys, token=TOKEN, root_path="/sky") as port,
        calm_context(chromium) as context,
    ):
        page = context.new_page()
        page.set_default_timeout(TIMEOUT * 1000)
        told: list[str] = []
        page.on("console", lambda said: told.append(said.text) if said.type == "error" else None)
        asked = f"http://127.0.0.1:{port}/sky/"
        page.goto(f"{asked}#ra=180&dec=1")
        page.get_by_label("Token of this viewer").fill("something else")
        page.keyboard.press("Enter")
        page.get_by_text("Wrong token.").wait_for()
        assert context.cookies() == []
        # nothing but the answer itself was complained about: the page keeps to its policy
        assert [text for text in told if "401" not in text] == []

        page.get_by_label("Token of this viewer").fill(TOKEN)
        with page.expect_response(lambda answer: answer.url.endswith("/api/surveys")) as listed:
            page.get_by_role("button").click()
        assert listed.value.status == 200
        assert page.url.startswith(asked)
        assert "ra=180" in page.url
        assert TOKEN not in page.url
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/sky")
        # a script of the page cannot read it
        assert page.evaluate("document.cookie") == ""

        # what an open page says when it is not let in any more
        page.wait_for_selector("body[data-state=ready]")
        context.clear_cookies()
        page.mouse.click(600, 330)
        page.locator("#coadds").get_by_text("requires its token again: reload").wait_for()

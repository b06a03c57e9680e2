"""What a problem's `type` leads to."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from portal_api import error_page
from portal_api.problems import ERROR_PAGE

router = APIRouter(include_in_schema=False)


@router.get(ERROR_PAGE, response_class=HTMLResponse)
async def explain_errors() -> HTMLResponse:
    """Every code that this market answers, what it means and what mends it."""
    return HTMLResponse(error_page.page())

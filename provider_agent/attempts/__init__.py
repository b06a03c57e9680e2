"""One attempt from the order to the accepted report, file by noun; what must survive a kill lies in its folder."""

"""`make demo`: real data found on any machine goes through the whole service and ends in a report card."""

"""What the queue's engine holds, for tests."""

import sqlalchemy as sa


def without_job(session, queue, jobs):
    """Return those of ``jobs`` that will not run any more."""
    return [job for job in jobs if not session.scalar(sa.select(queue.holds(sa.literal(job.job_id))))]

// Pages that do not change: an earlier moment of a job, and one that was deleted.
import { localise } from "./live.js";

localise(document);

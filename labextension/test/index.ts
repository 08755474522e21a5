// All tests of models in one process: what they import takes longer than they do.
import './time';
import './test_asking';
import './test_datasets';
import './test_flight';
import './test_forms';
import './test_job_models';
import './test_machines';
import './test_origin';
import './test_paged';
import './test_run_model';

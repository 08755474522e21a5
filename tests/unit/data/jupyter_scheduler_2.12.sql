BEGIN TRANSACTION;
CREATE TABLE job_definitions (
	job_definition_id VARCHAR(36) NOT NULL, 
	schedule VARCHAR(256), 
	timezone VARCHAR(36), 
	url VARCHAR(256), 
	create_time INTEGER, 
	active BOOLEAN, 
	runtime_environment_name VARCHAR(256) NOT NULL, 
	runtime_environment_parameters VARCHAR(1024), 
	compute_type VARCHAR(256), 
	input_filename VARCHAR(256) NOT NULL, 
	output_formats VARCHAR(512), 
	name VARCHAR(256), 
	tags VARCHAR(1024), 
	parameters VARCHAR(1024), 
	email_notifications VARCHAR(1024), 
	timeout_seconds INTEGER, 
	retry_on_timeout BOOLEAN, 
	max_retries INTEGER, 
	min_retry_interval_millis INTEGER, 
	output_filename_template VARCHAR(256), 
	update_time INTEGER, 
	package_input_folder BOOLEAN, 
	packaged_files VARCHAR, 
	PRIMARY KEY (job_definition_id)
);
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000000','30 2 * * 1-5','Europe/Prague','/job_definitions/00000000-0000-4000-8000-000000000000',1767225600000,1,'base',NULL,NULL,'digits.ipynb','["ipynb", "html"]','nightly digits',NULL,'{"alpha": "0.5", "where": "here"}',NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,NULL,'[]');
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000001','@weekly',NULL,'/job_definitions/00000000-0000-4000-8000-000000000001',1767225600000,1,'base',NULL,NULL,'weekly.ipynb','["ipynb"]','weekly',NULL,NULL,NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,1,'["two words.ipynb", "digits.ipynb"]');
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000002','0 6 * * 0 15','America/New_York','/job_definitions/00000000-0000-4000-8000-000000000002',1767225600000,1,'base',NULL,NULL,'digits.ipynb','["ipynb"]','weekly','["t"]',NULL,NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,NULL,'[]');
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000003',NULL,NULL,'/job_definitions/00000000-0000-4000-8000-000000000003',1767225600000,1,'base',NULL,NULL,'two words.ipynb','["ipynb"]','by hand',NULL,NULL,NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,NULL,'[]');
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000004','0 * * * *',NULL,'/job_definitions/00000000-0000-4000-8000-000000000004',1767225600000,0,'base',NULL,NULL,'digits.ipynb','["ipynb"]','paused',NULL,NULL,NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,NULL,'[]');
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000005','H H * * *',NULL,'/job_definitions/00000000-0000-4000-8000-000000000005',1767225600000,1,'base',NULL,NULL,'digits.ipynb','["ipynb"]','hashed',NULL,NULL,NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,NULL,'[]');
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000006','1 1 * * *','Mars/Olympus','/job_definitions/00000000-0000-4000-8000-000000000006',1767225600000,1,'base',NULL,NULL,'digits.ipynb','["ipynb"]','gone',NULL,NULL,NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,NULL,'[]');
INSERT INTO "job_definitions" VALUES('00000000-0000-4000-8000-000000000007','1 1 * * *',NULL,'/job_definitions/00000000-0000-4000-8000-000000000007',1767225600000,1,'base',NULL,NULL,'digits.ipynb','["ipynb"]','lost',NULL,NULL,NULL,600,0,0,0,'{{input_filename}}-{{create_time}}',1767225600000,NULL,'[]');
CREATE TABLE jobs (
	job_id VARCHAR(36) NOT NULL, 
	job_definition_id VARCHAR(36), 
	status VARCHAR(64), 
	status_message VARCHAR(1024), 
	start_time INTEGER, 
	end_time INTEGER, 
	url VARCHAR(256), 
	pid INTEGER, 
	idempotency_token VARCHAR(256), 
	runtime_environment_name VARCHAR(256) NOT NULL, 
	runtime_environment_parameters VARCHAR(1024), 
	compute_type VARCHAR(256), 
	input_filename VARCHAR(256) NOT NULL, 
	output_formats VARCHAR(512), 
	name VARCHAR(256), 
	tags VARCHAR(1024), 
	parameters VARCHAR(1024), 
	email_notifications VARCHAR(1024), 
	timeout_seconds INTEGER, 
	retry_on_timeout BOOLEAN, 
	max_retries INTEGER, 
	min_retry_interval_millis INTEGER, 
	output_filename_template VARCHAR(256), 
	update_time INTEGER, 
	create_time INTEGER, 
	package_input_folder BOOLEAN, 
	packaged_files VARCHAR, 
	PRIMARY KEY (job_id)
);
COMMIT;

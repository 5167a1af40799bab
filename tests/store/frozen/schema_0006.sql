-- A gallery as the sixth released schema left it: what later versions must open, upgrade and search. Never edit.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE api_keys (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	digest BLOB NOT NULL, 
	scopes TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT ck_api_keys_digest_length CHECK (length(digest) = 32), 
	CONSTRAINT uq_api_keys_name UNIQUE (name)
)
 STRICT

;
INSERT INTO "api_keys" VALUES(1,'web-shop',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F','["read"]','2026-01-02T03:04:05+00:00',1384981966);
CREATE TABLE audit_events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	detail TEXT NOT NULL
, crc INTEGER DEFAULT 0 NOT NULL)
 STRICT

;
INSERT INTO "audit_events" VALUES(1,'2026-01-02T03:04:05+00:00','someone','people.remove','{"photos": 1, "templates": 1}',672538467);
INSERT INTO "audit_events" VALUES(2,'2026-01-02T03:04:05+00:00','someone','enroll','{"photos": 4}',2319596531);
CREATE TABLE calibrations (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	model_id INTEGER NOT NULL, 
	document TEXT NOT NULL, 
	created_at TEXT NOT NULL, crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT fk_calibrations_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
)
 STRICT

;
INSERT INTO "calibrations" VALUES(1,1,'{"threshold": 0.5}','2026-01-02T03:04:05+00:00',2868290556);
CREATE TABLE crops (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	photo_id INTEGER NOT NULL, 
	jpeg BLOB NOT NULL, 
	crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT fk_crops_photo_id FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE, 
	CONSTRAINT uq_crops_photo_id UNIQUE (photo_id)
)
 STRICT

;
INSERT INTO "crops" VALUES(1,1,X'FFD8FFD9',2857234588);
CREATE TABLE engines (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	active INTEGER NOT NULL, 
	filled_to INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	created_at TEXT NOT NULL, 
	crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT ck_engines_active_boolean CHECK (active in (0, 1)), 
	CONSTRAINT uq_engines_name UNIQUE (name)
)
 STRICT

;
INSERT INTO "engines" VALUES(1,'milvus','facesearch_20a18a4f257707d3',0,0,0,'2026-11-22T10:09:55+00:00',2131849587);
CREATE TABLE evaluations (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	model_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	document TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT fk_evaluations_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
)
 STRICT

;
INSERT INTO "evaluations" VALUES(1,1,'verification','{"kind": "verification", "model_id": "model-a"}','2026-01-02T03:04:05+00:00',1674041063);
CREATE TABLE faces (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	photo_id INTEGER NOT NULL, 
	subject_id INTEGER NOT NULL, 
	box BLOB NOT NULL, 
	landmarks BLOB NOT NULL, 
	detection_score REAL NOT NULL, 
	size REAL NOT NULL, 
	sharpness REAL NOT NULL, 
	yaw REAL NOT NULL, 
	roll REAL NOT NULL, crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT ck_faces_box_length CHECK (length(box) = 16), 
	CONSTRAINT ck_faces_landmarks_length CHECK (length(landmarks) = 40), 
	CONSTRAINT fk_faces_photo_id FOREIGN KEY(photo_id) REFERENCES photos (id) ON DELETE CASCADE, 
	CONSTRAINT fk_faces_subject_id FOREIGN KEY(subject_id) REFERENCES subjects (id) ON DELETE CASCADE
)
 STRICT

;
INSERT INTO "faces" VALUES(1,1,1,X'000020410000A041000070420000A042',X'000000000000803F0000004000004040000080400000A0400000C0400000E0400000004100001041',0.9,50.0,100.0,0.1,-2.0,782870488);
INSERT INTO "faces" VALUES(2,2,1,X'000020410000A041000070420000A042',X'000000000000803F0000004000004040000080400000A0400000C0400000E0400000004100001041',0.9,50.0,100.0,0.1,-2.0,2225130069);
INSERT INTO "faces" VALUES(3,3,2,X'000020410000A041000070420000A042',X'000000000000803F0000004000004040000080400000A0400000C0400000E0400000004100001041',0.9,50.0,100.0,0.1,-2.0,885351586);
CREATE TABLE models (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	model_id TEXT NOT NULL, 
	pack TEXT NOT NULL, 
	dimension INTEGER NOT NULL, 
	detector_sha256 TEXT NOT NULL, 
	recognizer_sha256 TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	threshold REAL NOT NULL, 
	threshold_basis TEXT NOT NULL, 
	active INTEGER NOT NULL, 
	created_at TEXT NOT NULL, crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT ck_models_dimension_positive CHECK (dimension > 0), 
	CONSTRAINT ck_models_active_boolean CHECK (active in (0, 1)), 
	CONSTRAINT uq_models_model_id UNIQUE (model_id)
)
 STRICT

;
INSERT INTO "models" VALUES(1,'model-a','a-pack',8,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','{"det_sizes": [640]}',0.4,'uncalibrated default',1,'2026-01-02T03:04:05+00:00',1207714728);
CREATE TABLE outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	engine_id INTEGER NOT NULL, 
	template_id INTEGER NOT NULL, 
	model_id INTEGER NOT NULL
)
 STRICT

;
INSERT INTO "outbox" VALUES(1,1,1,1);
INSERT INTO "outbox" VALUES(2,1,2,1);
INSERT INTO "outbox" VALUES(3,1,3,1);
CREATE TABLE photos (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path BLOB NOT NULL, 
	sha256 BLOB NOT NULL, 
	size INTEGER NOT NULL, 
	mtime_ns INTEGER NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	enrolled_at TEXT NOT NULL, crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT ck_photos_sha256_length CHECK (length(sha256) = 32), 
	CONSTRAINT uq_photos_path UNIQUE (path)
)
 STRICT

;
INSERT INTO "photos" VALUES(1,X'2F70686F746F732F312E6A7067',X'6B86B273FF34FCE19D6B804EFF5A3F5747ADA4EAA22F1D49C01E52DDB7875B4B',100,1,640,480,'2026-01-02T03:04:05+00:00',1686285464);
INSERT INTO "photos" VALUES(2,X'2F70686F746F732F322E6A7067',X'D4735E3A265E16EEE03F59718B9B5D03019C07D8B6C51F90DA3A666EEC13AB35',100,1,640,480,'2026-01-02T03:04:05+00:00',4276502947);
INSERT INTO "photos" VALUES(3,X'2F70686F746F732F332E6A7067',X'4E07408562BEDB8B60CE05C1DECFE3AD16B72230967DE01F640B7E4729B49FCE',100,1,640,480,'2026-01-02T03:04:05+00:00',282206738);
CREATE TABLE rejections (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path BLOB NOT NULL, 
	sha256 BLOB, 
	size INTEGER NOT NULL, 
	mtime_ns INTEGER NOT NULL, 
	policy TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	rejected_at TEXT NOT NULL, crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT uq_rejections_path UNIQUE (path)
)
 STRICT

;
INSERT INTO "rejections" VALUES(1,X'2F70686F746F732F626C75727265642E6A7067',X'ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB',5,6,'policy','blurred','It is blurred.','2026-01-02T03:04:05+00:00',1847663311);
CREATE TABLE revision (
	id INTEGER NOT NULL, 
	token BLOB NOT NULL, 
	touched BLOB, 
	CONSTRAINT pk_revision PRIMARY KEY (id), 
	CONSTRAINT ck_revision_token_length CHECK (length(token) = 16), 
	CONSTRAINT ck_revision_touched_twice CHECK (substr(touched, 1, 16) = substr(touched, 17))
)
 STRICT

;
INSERT INTO "revision" VALUES(1,X'5668B16C1988F5BEBFEE8DAA03A4C8CB',NULL);
INSERT INTO "revision" VALUES(2,X'A2EC07B18EC8AFBDA4BF68C2C6536B0A',X'3030303030303030303030303030303330303030303030303030303030303033');
INSERT INTO "revision" VALUES(3,X'64E2B09A05DFCE88C258705BA59FA38F',X'3030303030303030303030303030303330303030303030303030303030303033');
CREATE TABLE subjects (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	attributes TEXT NOT NULL, 
	created_at TEXT NOT NULL, crc INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT ck_subjects_name_present CHECK (length(name) > 0), 
	CONSTRAINT uq_subjects_name UNIQUE (name)
)
 STRICT

;
INSERT INTO "subjects" VALUES(1,'anna','{"city": "Oslo"}','2026-01-02T03:04:05+00:00',1831439492);
INSERT INTO "subjects" VALUES(2,'Bjørk 😀','{}','2026-01-02T03:04:05+00:00',35465868);
CREATE TABLE templates (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	face_id INTEGER NOT NULL, 
	model_id INTEGER NOT NULL, 
	dimension INTEGER NOT NULL, 
	vector BLOB NOT NULL, 
	crc INTEGER NOT NULL, 
	CONSTRAINT ck_templates_vector_length CHECK (length(vector) = 4 * dimension), 
	CONSTRAINT fk_templates_face_id FOREIGN KEY(face_id) REFERENCES faces (id) ON DELETE CASCADE, 
	CONSTRAINT fk_templates_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
)
 STRICT

;
INSERT INTO "templates" VALUES(1,1,1,8,X'61B82B3E5F21CC3E9331243E5AE221BF58EFE03E84CD5D3ED56785BEDA60903E',2088237482);
INSERT INTO "templates" VALUES(2,2,1,8,X'1774623D6C8A1CBEBC63F7BD56C736BFD8BB063F7450AB3E7CE6C2BDCBB8673E',1134079879);
INSERT INTO "templates" VALUES(3,3,1,8,X'BA5E043F64C125BFC4EFD83D364C13BE14DDEABD3BBB5FBD290303BFD2AE70BD',997919137);
CREATE UNIQUE INDEX uq_models_one_active ON models (active) WHERE active = 1;
CREATE INDEX ix_photos_sha256 ON photos (sha256);
CREATE INDEX ix_faces_photo_id ON faces (photo_id);
CREATE INDEX ix_faces_subject_id ON faces (subject_id);
CREATE INDEX ix_templates_face_id ON templates (face_id);
CREATE INDEX ix_templates_model_id ON templates (model_id);
CREATE INDEX ix_calibrations_model_id ON calibrations (model_id);
CREATE INDEX ix_evaluations_model_id ON evaluations (model_id);
CREATE UNIQUE INDEX uq_engines_one_active ON engines (active) WHERE active = 1;
CREATE INDEX ix_outbox_engine_id ON outbox (engine_id);
CREATE TRIGGER templates_outbox_insert AFTER insert ON templates BEGIN INSERT INTO outbox (engine_id, template_id, model_id) SELECT engines.id, NEW.id, NEW.model_id FROM engines; END;
CREATE TRIGGER templates_outbox_delete AFTER delete ON templates BEGIN INSERT INTO outbox (engine_id, template_id, model_id) SELECT engines.id, OLD.id, OLD.model_id FROM engines; END;
CREATE TRIGGER templates_token_insert AFTER insert ON templates BEGIN INSERT INTO revision (token, touched) VALUES (randomblob(16), CAST(printf('%016x%016x', NEW.id, NEW.id) AS BLOB)); END;
CREATE TRIGGER templates_token_update AFTER update ON templates BEGIN INSERT INTO revision (token, touched) VALUES (randomblob(16), CAST(printf('%016x%016x', OLD.id, OLD.id) AS BLOB)); INSERT INTO revision (token, touched) VALUES (randomblob(16), CAST(printf('%016x%016x', NEW.id, NEW.id) AS BLOB)); END;
CREATE TRIGGER templates_token_delete AFTER delete ON templates BEGIN INSERT INTO revision (token, touched) VALUES (randomblob(16), CAST(printf('%016x%016x', OLD.id, OLD.id) AS BLOB)); END;
CREATE TRIGGER revision_prune AFTER INSERT ON revision WHEN NEW.id % 1024 = 0 BEGIN DELETE FROM revision WHERE id <= NEW.id - 4096; END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('models',1);
INSERT INTO "sqlite_sequence" VALUES('subjects',3);
INSERT INTO "sqlite_sequence" VALUES('photos',4);
INSERT INTO "sqlite_sequence" VALUES('faces',4);
INSERT INTO "sqlite_sequence" VALUES('templates',4);
INSERT INTO "sqlite_sequence" VALUES('audit_events',2);
INSERT INTO "sqlite_sequence" VALUES('rejections',1);
INSERT INTO "sqlite_sequence" VALUES('calibrations',1);
INSERT INTO "sqlite_sequence" VALUES('evaluations',1);
INSERT INTO "sqlite_sequence" VALUES('api_keys',1);
INSERT INTO "sqlite_sequence" VALUES('crops',1);
INSERT INTO "sqlite_sequence" VALUES('engines',1);
INSERT INTO "sqlite_sequence" VALUES('outbox',3);
COMMIT;

/// <reference path="./comlink-node-adapter.d.ts" />
import * as Comlink from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import { parentPort } from 'node:worker_threads'
import { carryErrorDetails } from './rpc.ts'
import { TrainingHost } from './training-host.ts'

carryErrorDetails()
Comlink.expose(new TrainingHost(), nodeEndpoint(parentPort!))

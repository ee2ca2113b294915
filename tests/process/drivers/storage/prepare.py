"""Makes somebody who may write and the bucket `lake`; prints their keys. Argument: moto's address."""

import json
import sys

import boto3

told = {"endpoint_url": sys.argv[1], "region_name": "us-east-1"}
told |= {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
users = boto3.client("iam", **told)
users.create_user(UserName="writer")
allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
users.put_user_policy(UserName="writer", PolicyName="writes", PolicyDocument=json.dumps(allowed))
keys = users.create_access_key(UserName="writer")["AccessKey"]
boto3.client("s3", **told).create_bucket(Bucket="lake")
print(keys["AccessKeyId"], keys["SecretAccessKey"])
